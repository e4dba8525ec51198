
namespace HybridArchitectures.Design;

/// <summary>Contains the properties of a design for the serializer. <see cref="HybridDesign"/> has a converter that uses this type.</summary>
sealed record DesignDocument
{
    public string? Name { get; init; }
    public required int VocabularySize { get; init; }
    public required int Width { get; init; }
    public bool TiedHead { get; init; } = true;
    public double NormEpsilon { get; init; } = 1e-5;
    public NormKind NormKind { get; init; }
    public bool EmbeddingNorm { get; init; }
    public bool ZeroCenteredNorms { get; init; }
    public int? PaddingId { get; init; }
    public double HeadZLoss { get; init; }
    public bool HeadZLossEverywhere { get; init; }
    public double EmbeddingScale { get; init; } = 1;
    public double LogitScale { get; init; } = 1;
    public double? LogitCap { get; init; }
    public InitialisationSpec Initialisation { get; init; } = new();
    public EquatableList<SharedTransformerSpec> SharedTransformers { get; init; } = [];
    public required EquatableList<BlockSpec> Blocks { get; init; }

    public static DesignDocument FromDesign(HybridDesign design) => new()
    {
        Name = design.Name,
        VocabularySize = design.VocabularySize,
        Width = design.Width,
        TiedHead = design.TiedHead,
        NormEpsilon = design.NormEpsilon,
        NormKind = design.NormKind,
        EmbeddingNorm = design.EmbeddingNorm,
        ZeroCenteredNorms = design.ZeroCenteredNorms,
        PaddingId = design.PaddingId,
        HeadZLoss = design.HeadZLoss,
        HeadZLossEverywhere = design.HeadZLossEverywhere,
        EmbeddingScale = design.EmbeddingScale,
        LogitScale = design.LogitScale,
        LogitCap = design.LogitCap,
        Initialisation = design.Initialisation,
        SharedTransformers = design.SharedTransformers,
        Blocks = design.Blocks,
    };

    public HybridDesign ToDesign() => new()
    {
        Name = Name,
        VocabularySize = VocabularySize,
        Width = Width,
        TiedHead = TiedHead,
        NormEpsilon = NormEpsilon,
        NormKind = NormKind,
        EmbeddingNorm = EmbeddingNorm,
        ZeroCenteredNorms = ZeroCenteredNorms,
        PaddingId = PaddingId,
        HeadZLoss = HeadZLoss,
        HeadZLossEverywhere = HeadZLossEverywhere,
        EmbeddingScale = EmbeddingScale,
        LogitScale = LogitScale,
        LogitCap = LogitCap,
        Initialisation = Initialisation,
        SharedTransformers = SharedTransformers,
        Blocks = Blocks,
    };
}
