using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes gated linear attention (arXiv 2312.06635): linear attention whose state of K x V numbers per head decays with a separate factor for each
/// key channel and token, sigmoid(decay(x))^(1 / normalizer), and a norm followed by a SiLU gate per head.
/// </summary>
public sealed record GatedLinearAttentionSpec : MixerSpec
{
    /// <summary>Gets or sets the number of heads.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Gets or sets the size of a query and key head. The default, 0, means half of the model width divided by the number of heads.
    /// </summary>
    public int KeyHeadSize { get; init; }

    /// <summary>Gets or sets the size of a value head. The default, 0, means the model width divided by the number of heads.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>Gets or sets the width between the two projections of the decays. The default is 16.</summary>
    public int DecayRank { get; init; } = 16;

    /// <summary>Gets or sets the root that is taken of the sigmoid of a decay. Larger numbers forget more slowly. The default is 16.</summary>
    public double DecayNormalizer { get; init; } = 16;

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed together, a power of two. The memory of a pass grows with it. The default
    /// is 16.
    /// </summary>
    public int ChunkSize { get; init; } = 16;

    /// <summary>Gets the total width of the keys, which is also that of the queries and of the decays.</summary>
    [JsonIgnore]
    public int KeyWidth => Heads * KeyHeadSize;

    /// <summary>Gets the total width of the values, which is also that of the gate and of the input of the output projection.</summary>
    [JsonIgnore]
    public int ValueWidth => Heads * ValueHeadSize;

    /// <summary>Gets the letter <c>g</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "g";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    internal override MixerSpec? WithConvolution() => GatedDeltaSpec.WithHeads(Heads, KeyHeadSize, ValueHeadSize);

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        Require.AtLeast(Heads, 1, "heads");
        if (KeyHeadSize == 0)
            Require.That(width % (2L * Heads) == 0, "heads", Heads, $"a divisor of half of the width {width}, or a key head size");
        if (ValueHeadSize == 0) Require.That(width % Heads == 0, "heads", Heads, $"a divisor of the width {width}, or a value head size");
        return this with
        {
            KeyHeadSize = KeyHeadSize == 0 ? width / 2 / Heads : KeyHeadSize, ValueHeadSize = ValueHeadSize == 0 ? width / Heads : ValueHeadSize,
        };
    }

    LinearStateSize Sizes => new(Heads, KeyHeadSize, ValueHeadSize, ChunkSize);

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Sizes.Check();
        Require.Size(DecayRank, "decayRank");
        Require.Positive(DecayNormalizer, "decayNormalizer");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => (long)CountMatrixWeights(width) + KeyWidth + ValueHeadSize;

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) =>
        (2.0 * KeyWidth + 3.0 * ValueWidth) * width + (double)DecayRank * (width + KeyWidth);

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => Sizes.CountMixingFlops(accounting, seen);

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => Sizes.CountCache(elementSize);

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => Sizes.CountPaperCacheBytes();

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // queries, keys and values, the gate, what is normed; what is projected out is computed again
        double activations = (2.0 * KeyWidth + (step.RecomputesInputs ? 3.0 : 4.0) * ValueWidth + DecayRank) * step.ElementSize;
        return activations + Sizes.CountSavedStates(step);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() =>
        Sizes.Describe("Gated linear attention", "gated linear attention", MixerColor.GatedLinearAttention);
}
