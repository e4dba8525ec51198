using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Contains the trainable parameters of a model, counted from its design. Buffers, such as the balancing bias of a mixture of experts, do not count.
/// </summary>
public sealed record ParameterCount
{
    /// <summary>Gets or sets the parameters of the embedding, which are also those of a tied head.</summary>
    public required long Embedding { get; init; }

    /// <summary>Gets or sets the parameters of a separate head. 0 if the head is tied.</summary>
    public required long Head { get; init; }

    /// <summary>Gets or sets the parameters of the norms after the last block and after the embedding.</summary>
    public required long FinalNorm { get; init; }

    /// <summary>
    /// Gets or sets the parameters of the shared transformers, each counted once. The parameters of their uses are in <see cref="Blocks"/>.
    /// </summary>
    public long SharedTransformers { get; init; }

    /// <summary>Gets or sets the blocks, in order.</summary>
    public required EquatableList<BlockParameters> Blocks { get; init; }

    /// <summary>Gets the number of all parameters. A tied embedding counts once.</summary>
    public long Total => Embedding + Head + NonEmbedding;

    /// <summary>Gets the number of parameters without embedding and head.</summary>
    public long NonEmbedding => Blocks.Sum(block => block.Total) + SharedTransformers + FinalNorm;

    /// <summary>Gets the number of parameters that one token uses: <see cref="Total"/>, with only the selected routed experts.</summary>
    public long Active => Embedding + Head + ActiveNonEmbedding;

    /// <summary>Gets the number of parameters that one token uses, without embedding and head.</summary>
    public long ActiveNonEmbedding => Blocks.Sum(block => block.Active) + SharedTransformers + FinalNorm;

    /// <summary>
    /// Gets the parameters by part: <c>embedding</c>, <c>head</c>, <c>mixer T</c> and other letters, <c>shared transformers</c>, <c>feed-forward</c>,
    /// <c>norms</c>. Parts without parameters are omitted.
    /// </summary>
    public IReadOnlyDictionary<string, long> ByPart
    {
        get
        {
            var parts = new Dictionary<string, long>();
            void Add(string part, long count)
            {
                if (count != 0) parts[part] = parts.GetValueOrDefault(part) + count;
            }
            Add("embedding", Embedding);
            foreach (var block in Blocks) Add($"mixer {block.Symbol[..1]}", block.Mixer);
            Add("shared transformers", SharedTransformers + Blocks.Sum(block => block.SharedUse));
            foreach (var block in Blocks) Add("feed-forward", block.FeedForward);
            Add("norms", FinalNorm + Blocks.Sum(block => block.Norms));
            Add("head", Head);
            return parts;
        }
    }

    /// <summary>Counts the parameters of a design with all sizes derived.</summary>
    public static ParameterCount FromDesign(HybridDesign design)
    {
        ArgumentNullException.ThrowIfNull(design);
        design.Check();
        long norm = design.CountNormParameters();
        long table = (long)design.VocabularySize * design.Width;
        return new()
        {
            Embedding = table,
            Head = design.TiedHead ? 0 : table,
            FinalNorm = (design.EmbeddingNorm ? 2 : 1) * norm,
            SharedTransformers = design.SharedTransformers.Sum(transformer => transformer.CountParameters(design.Width)),
            Blocks = design.Blocks.Select((block, index) => Count(block, index + 1, design.Width, norm) with
            {
                SharedUse = block.Shared is { } use ? use.CountParameters(design.SharedTransformers[use.Transformer], design.Width) : 0,
            }).ToEquatableList(),
        };
    }

    static BlockParameters Count(BlockSpec block, int position, int width, long norm) => new(position, block.Symbol, Count(block.Mixer, width),
        block.FeedForward.CountParameters(width), (block.Mixer is null ? 0 : norm) + (block.FeedForward.IsNone ? 0 : norm),
        block.FeedForward.CountActiveParameters(width));

    static long Count(MixerSpec? mixer, int width)
    {
        long count = mixer?.CountParameters(width) ?? 0;
        if (mixer is { IsCustom: true }) Require.AtLeast(count, 0, $"{mixer.GetType().Name}.{nameof(MixerSpec.CountParameters)}");
        return count;
    }

    /// <summary>
    /// Returns the counts as text, for example <c>1,221,604,128 parameters (958,935,840 without embedding, 1,221,604,128 active)</c>.
    /// </summary>
    public override string ToString() =>
        FormattableString.Invariant($"{Total:N0} parameters ({NonEmbedding:N0} without embedding, {Active:N0} active)");
}
