using System.Numerics;
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

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(KeyHeadSize, "keyHeadSize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)Heads * KeyHeadSize, "heads x keyHeadSize");
        Require.Size((long)Heads * ValueHeadSize, "heads x valueHeadSize");
        Require.Size(DecayRank, "decayRank");
        Require.Positive(DecayNormalizer, "decayNormalizer");
        Require.That(ChunkSize > 0 && BitOperations.IsPow2(ChunkSize), "chunkSize", ChunkSize, "a power of two");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => (long)CountMatrixWeights(width) + KeyWidth + ValueHeadSize;

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) =>
        (2.0 * KeyWidth + 3.0 * ValueWidth) * width + (double)DecayRank * (width + KeyWidth);

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen)
    {
        // decay, what is written, what the query reads
        if (accounting == FlopAccounting.Paper) return 5.0 * ValueWidth * KeyHeadSize;
        double states = 4.0 * ValueWidth * KeyHeadSize;
        return seen.RowLength is { } length ? 2.0 * Math.Min(ChunkSize, length) * ((double)KeyWidth + ValueWidth) + states : states;
    }

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) =>
        new(Scans: (long)ValueWidth * KeyHeadSize * MixerCache.ScanElement(elementSize));

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * ValueWidth * KeyHeadSize;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // queries, keys and values, the gate, what is normed, what is projected out
        double activations = (2.0 * KeyWidth + 4.0 * ValueWidth + DecayRank) * step.ElementSize;
        // in float32: decays, the table of a chunk with its logarithm, and a state at each chunk
        return activations + sizeof(float) * ((3.0 + 2.0 * ChunkSize) * KeyWidth + (double)ValueWidth * KeyHeadSize / ChunkSize);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Gated linear attention",
        FormattableString.Invariant($"gated linear attention {Heads}x{KeyHeadSize}")
        + (ValueHeadSize == KeyHeadSize ? "" : FormattableString.Invariant($"/{ValueHeadSize}")),
        $"{MixerDescription.Counted(Heads, "head")} × {ValueHeadSize}, keys {KeyHeadSize}", MixerColor.GatedLinearAttention);
}
