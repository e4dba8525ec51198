namespace HybridArchitectures.Design;

/// <summary>Contains the settings of a <see cref="HybridDesignBuilder"/>.</summary>
sealed record BuilderState
{
    public required int Width { get; init; }
    public required int VocabularySize { get; init; }
    public string? Name { get; init; }
    public IReadOnlyList<MixerSpec> Mixers { get; init; } = [];
    public FeedForwardSpec FeedForward { get; init; } = FeedForwardSpec.None;
    public MixtureOfExpertsSpec? Experts { get; init; }
    public EquatableList<SharedTransformerSpec> Shared { get; init; } = [];
    public SharedTransformerUse SharedUse { get; init; } = new();
    public int? Depth { get; init; }
    public BuilderRatio? Ratio { get; init; }
    public Placement? Placement { get; init; }
    public EquatableList<int>? Positions { get; init; }
    public EquatableList<PatternBlock>? Pattern { get; init; }
    public IReadOnlyList<Func<MixerSpec, MixerSpec>> Changes { get; init; } = [];
    public IReadOnlyList<(int Position, Func<BlockSpec, BlockSpec> Change)> Overrides { get; init; } = [];
    public bool TiedHead { get; init; } = true;
    public double NormEpsilon { get; init; } = 1e-5;
    public InitialisationSpec Initialisation { get; init; } = new();
}
