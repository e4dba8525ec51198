using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes a language model: vocabulary size, width, blocks in order, and head. It is an immutable value that compares by value. Models, costs and
/// files are derived from it.
/// </summary>
/// <remarks>
/// Create it with <see cref="Create"/> or from JSON. A design that is created with an object initializer is completed by <see cref="Resolve"/>.
/// </remarks>
/// <example>
/// <code>
/// HybridDesign design = HybridDesign.Create(width: 256, vocabularySize: 256)
///     .WithAttention(heads: 8, keyValueHeads: 2)
///     .WithMamba2(stateSize: 64, headSize: 64)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(704))
///     .Depth(6).Ratio(attention: 1, ssm: 5)
///     .Build();
/// Console.WriteLine($"{design.Pattern}: {design.CountParameters().Total:N0} parameters");
/// HybridDesign same = HybridDesign.FromJson(design.ToJson());
/// Console.WriteLine(design == same);                         // True
/// </code>
/// </example>
[JsonConverter(typeof(HybridDesignConverter))]
public sealed record HybridDesign
{
    internal const int MaxDepth = 4096;

    /// <summary>Gets or sets the name. The default is null.</summary>
    public string? Name { get; init; }

    /// <summary>Gets or sets the number of tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Gets or sets the width of the residual stream (hidden size).</summary>
    public required int Width { get; init; }

    /// <summary>Gets or sets the blocks, in order.</summary>
    public required EquatableList<BlockSpec> Blocks { get; init; }

    /// <summary>
    /// Gets or sets the transformer layers whose weights are stored once and used by any number of blocks, see <see cref="BlockSpec.Shared"/>. The
    /// default is empty.
    /// </summary>
    public EquatableList<SharedTransformerSpec> SharedTransformers { get; init; } = [];

    /// <summary>Gets or sets whether the head is the transposed embedding. The default is true.</summary>
    public bool TiedHead { get; init; } = true;

    /// <summary>Gets or sets the epsilon of the norms after the last block and after the embedding. The default is 1e-5.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>
    /// Gets or sets the kind of the norms of the blocks, after the embedding and after the last block. Norms inside mixers and shared transformers
    /// are not affected. The default is <see cref="NormKind.RootMeanSquare"/>.
    /// </summary>
    public NormKind NormKind { get; init => field = Require.Defined(value, nameof(NormKind)); }

    /// <summary>
    /// Gets or sets whether the embedded tokens are normed before the first block, with <see cref="NormEpsilon"/>. The default is false.
    /// </summary>
    public bool EmbeddingNorm { get; init; }

    /// <summary>
    /// Gets or sets whether norm weights are stored as (scale - 1) and start at 0. The default, false, stores the scale. Gated norms inside
    /// state-space mixers always store the scale.
    /// </summary>
    public bool ZeroCenteredNorms { get; init; }

    /// <summary>
    /// Gets or sets the padding token. Its embedding receives no gradient from the look-up, but it does from a tied head. The default, null, means
    /// none.
    /// </summary>
    public int? PaddingId { get; init; }

    /// <summary>
    /// Gets or sets the coefficient of the z-loss of the head, which is added to the loss: the mean squared log-sum-exp of the logits over the
    /// targets that count (arXiv 2204.02311, section 5). The default is 0.
    /// </summary>
    public double HeadZLoss { get; init; }

    /// <summary>
    /// Gets or sets whether the z-loss is a mean over all positions, including padding and those without a target. It then needs two more passes over
    /// the head. The default is false.
    /// </summary>
    public bool HeadZLossEverywhere { get; init; }

    /// <summary>Gets or sets the multiplier of the embedded tokens. The default is 1.</summary>
    public double EmbeddingScale { get; init; } = 1;

    /// <summary>Gets or sets the multiplier of the logits. The default is 1.</summary>
    public double LogitScale { get; init; } = 1;

    /// <summary>
    /// Gets or sets the bound c of the logits, which become c tanh(logits / c) after <see cref="LogitScale"/> (arXiv 2408.00118, section 2). The
    /// default, null, means none.
    /// </summary>
    public double? LogitCap { get; init; }

    /// <summary>Gets or sets how the weights are initialised. The default is an <see cref="InitialisationSpec"/> with default values.</summary>
    public InitialisationSpec Initialisation { get; init; } = new();

    /// <summary>Gets the number of blocks.</summary>
    [JsonIgnore]
    public int Depth => Blocks.Count;

    /// <summary>Gets the blocks in pattern notation, see <see cref="BlockPattern"/>.</summary>
    [JsonIgnore]
    public string Pattern => BlockPattern.Print(Blocks);

    /// <summary>Creates a builder. Add mixers, the depth and the order of the blocks, and call <see cref="HybridDesignBuilder.Build"/>.</summary>
    /// <param name="width">The width of the residual stream (hidden size).</param>
    /// <param name="vocabularySize">The number of tokens in the vocabulary.</param>
    /// <returns>A builder without mixers.</returns>
    /// <exception cref="ArgumentException">A size is below 1 or above 1,048,576.</exception>
    public static HybridDesignBuilder Create(int width, int vocabularySize) => new(width, vocabularySize);

    /// <summary>Derives every size that is 0, which means automatic, and checks the design.</summary>
    /// <returns>The design with all sizes.</returns>
    /// <exception cref="ArgumentException">
    /// A model of this design is not possible. The message names the block and property, the value, and what was expected.
    /// </exception>
    public HybridDesign Resolve()
    {
        var filled = Fill();
        filled.Check();
        return filled;
    }

    /// <summary>Derives sizes that are 0 as far as possible, without checks, and returns the design.</summary>
    internal HybridDesign Fill()
    {
        Require.Size(Width, "width");
        Require.Present(Blocks, "blocks", "at least one block");
        var blocks = new BlockSpec[Blocks.Count];
        for (int i = 0; i < blocks.Length; i++)
        {
            int index = i;
            Require.Within($"block {i + 1}", () => blocks[index] = (Blocks[index] ?? throw Require.Refusal("block", null, "a block")).Resolve(Width));
        }
        var transformers = new SharedTransformerSpec[SharedTransformers?.Count ?? 0];
        for (int i = 0; i < transformers.Length; i++)
        {
            int index = i;
            Require.Within($"shared transformer {i}", () =>
                transformers[index] = (SharedTransformers![index] ?? throw Require.Refusal("transformer", null, "a SharedTransformerSpec"))
                    .Resolve(Width));
        }
        return this with { Blocks = new(blocks), SharedTransformers = new(transformers) };
    }

    /// <summary>Gets whether the design has blocks.</summary>
    internal bool HasBlocks => Blocks is not null && SharedTransformers is not null && Blocks.All(block => block is { FeedForward: not null })
        && SharedTransformers.All(transformer => transformer?.Attention is not null);

    /// <summary>Checks that a model of this design is possible.</summary>
    /// <exception cref="ArgumentException">
    /// It is not possible. The message names the block and property, the value, and what was expected.
    /// </exception>
    public void Check()
    {
        Require.That(Name is null || IsText(Name), "name", Name, "text without unpaired surrogates");
        Require.Size(VocabularySize, "vocabularySize");
        Require.Size(Width, "width");
        Require.Present(Blocks, "blocks", "at least one block");
        Require.That(Blocks.Count is >= 1 and <= MaxDepth, "depth", Blocks.Count, $"1 to {MaxDepth}");
        Require.Positive(NormEpsilon, "normEpsilon");
        Require.That(PaddingId is null || (PaddingId >= 0 && PaddingId < VocabularySize), "paddingId", PaddingId,
            $"0 to {VocabularySize - 1}, or none");
        Require.That(!ZeroCenteredNorms || NormKind == NormKind.RootMeanSquare, "zeroCenteredNorms", ZeroCenteredNorms, "false with LayerNorm");
        Require.NotNegative(HeadZLoss, "headZLoss");
        Require.Positive(EmbeddingScale, "embeddingScale");
        Require.Positive(LogitScale, "logitScale");
        if (LogitCap is { } cap) Require.Positive(cap, "logitCap");
        Require.Present(Initialisation, "initialisation", "an InitialisationSpec");
        Require.Within("initialisation", Initialisation.Check);
        Require.Present(SharedTransformers, "sharedTransformers", "a list, which may be empty");
        Require.That(SharedTransformers.Count <= MaxDepth, "sharedTransformers", SharedTransformers.Count, $"at most {MaxDepth}");
        for (int i = 0; i < SharedTransformers.Count; i++)
            Require.Within(
                $"shared transformer {i}", () =>
                (SharedTransformers[i] ?? throw Require.Refusal("transformer", null, "a SharedTransformerSpec")).Check(Width));
        for (int i = 0; i < Blocks.Count; i++)
        {
            Require.Within($"block {i + 1}", () => Blocks[i].Check(Width));
            if (Blocks[i].Shared is { } use) Require.Within($"block {i + 1}: shared", () => use.Check(this));
        }
        FirstValues.Check(Blocks);
    }

    /// <summary>Returns the number of parameters of one norm of a block, or of the stack.</summary>
    internal long CountNormParameters() => NormKind == NormKind.LayerNorm ? 2L * Width : Width;

    /// <summary>Returns the attention of the shared transformer that a block uses, or null.</summary>
    internal AttentionSpec? SharedAttention(BlockSpec block) => block.Shared is { } use ? SharedTransformers[use.Transformer].Attention : null;

    // text that UTF-8 can represent
    static bool IsText(string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i])) continue;
            if (i + 1 == text.Length || !char.IsSurrogatePair(text[i], text[i + 1])) return false;
            i++;
        }
        return true;
    }

    /// <summary>Returns the design as indented JSON. Every number is written.</summary>
    public string ToJson() => DesignJson.Write(this);

    /// <summary>Reads a design from JSON as <see cref="ToJson"/> writes it. Keys can have any order. Keys with a default can be absent.</summary>
    /// <param name="json">The JSON document.</param>
    /// <exception cref="ArgumentException">
    /// The text is not JSON, a key is unknown, duplicate or missing, a value has the wrong kind, or a model of the design is not possible. The
    /// message names the position, the value, and what was expected.
    /// </exception>
    public static HybridDesign FromJson(string json) => DesignJson.Read(json);

    /// <summary>Returns the differences between this design and another one. The result is empty if they are equal.</summary>
    public EquatableList<DesignDifference> Diff(HybridDesign other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return DesignDiff.Between(this, other);
    }

    /// <summary>Returns name, width, vocabulary size and pattern in one line.</summary>
    public override string ToString() => $"{Name ?? "design"}: width {Width}, vocabulary {VocabularySize}, {Depth} blocks {Pattern}";
}
