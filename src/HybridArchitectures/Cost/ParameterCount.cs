using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Trainable parameters of a model, counted from its design alone. Buffers, such as the balancing bias of a mixture of experts, are none.</summary>
public sealed record ParameterCount
{
    /// <summary>The embedding, which is also the head of a design that ties them.</summary>
    public required long Embedding { get; init; }

    /// <summary>A head of its own; 0 if it is tied.</summary>
    public required long Head { get; init; }

    /// <summary>The norm after the last block.</summary>
    public required long FinalNorm { get; init; }

    /// <summary>Shared transformers, each once; what blocks add for their use of them is in <see cref="Blocks"/>.</summary>
    public long SharedTransformers { get; init; }

    /// <summary>The blocks, first to last.</summary>
    public required EquatableList<BlockParameters> Blocks { get; init; }

    /// <summary>All parameters; a tied embedding counts once.</summary>
    public long Total => Embedding + Head + NonEmbedding;

    /// <summary>All but embedding and head.</summary>
    public long NonEmbedding => Blocks.Sum(block => block.Total) + SharedTransformers + FinalNorm;

    /// <summary>What one token uses: as <see cref="Total"/>, of routed experts only those it is sent to.</summary>
    public long Active => Embedding + Head + ActiveNonEmbedding;

    /// <summary>What one token uses, without embedding and head.</summary>
    public long ActiveNonEmbedding => Blocks.Sum(block => block.Active) + SharedTransformers + FinalNorm;

    /// <summary>The total by part: <c>embedding</c>, <c>head</c>, <c>mixer T</c> and so on by letter, <c>shared transformers</c>, <c>feed-forward</c>, <c>norms</c>; parts without
    /// parameters are left out.</summary>
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

    /// <summary>Counts the parameters of a complete design.</summary>
    public static ParameterCount FromDesign(HybridDesign design)
    {
        ArgumentNullException.ThrowIfNull(design);
        design.Check();
        long table = (long)design.VocabularySize * design.Width;
        return new()
        {
            Embedding = table,
            Head = design.TiedHead ? 0 : table,
            FinalNorm = design.Width,
            SharedTransformers = design.SharedTransformers.Sum(transformer => transformer.CountParameters(design.Width)),
            Blocks = design.Blocks.Select((block, index) => Count(block, index + 1, design.Width) with
            {
                SharedUse = block.Shared is { } use ? use.CountParameters(design.SharedTransformers[use.Transformer], design.Width) : 0,
            }).ToEquatableList(),
        };
    }

    static BlockParameters Count(BlockSpec block, int position, int width) => new(position, block.Symbol, Count(block.Mixer, width),
        block.FeedForward.CountParameters(width), (block.Mixer is null ? 0 : width) + (block.FeedForward.IsNone ? 0 : width),
        block.FeedForward.CountActiveParameters(width));

    static long Count(MixerSpec? mixer, int width)
    {
        long count = mixer?.CountParameters(width) ?? 0;
        if (mixer is CustomMixerSpec) Require.AtLeast(count, 0, $"{mixer.GetType().Name}.{nameof(MixerSpec.CountParameters)}");
        return count;
    }

    /// <summary>Such as <c>1,221,604,128 parameters (958,935,840 without embedding, 1,221,604,128 active)</c>.</summary>
    public override string ToString() => FormattableString.Invariant($"{Total:N0} parameters ({NonEmbedding:N0} without embedding, {Active:N0} active)");
}
