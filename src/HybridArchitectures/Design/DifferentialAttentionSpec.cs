using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes differential attention (arXiv 2410.05258): each head computes two softmax distributions over the same values and subtracts the second,
/// multiplied by a learned number, from the first. A norm per head follows.
/// </summary>
public sealed record DifferentialAttentionSpec : MixerSpec
{
    /// <summary>Gets or sets the number of query heads, each of which has two queries.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Gets or sets the number of key and value heads, a divisor of <see cref="Heads"/>. The default, 0, means <see cref="Heads"/>.
    /// </summary>
    public int KeyValueHeads { get; init; }

    /// <summary>
    /// Gets or sets the size of each query and key. A value has twice that size. The default, 0, means the model width divided by twice the number of
    /// heads.
    /// </summary>
    public int HeadSize { get; init; }

    /// <summary>Gets or sets the rotary positions of queries and keys. The default, null, means none.</summary>
    public RotarySpec? Rotary { get; init; }

    /// <summary>
    /// Gets or sets the multiplier of the second distribution at the start of training, below 1. The output is multiplied by 1 minus this number. The
    /// authors use 0.8 - 0.6 exp(-0.3 (l - 1)) in layer l. The default is 0.8.
    /// </summary>
    public double InitialMultiplier { get; init; } = 0.8;

    /// <summary>Gets the total width of the queries, which is also that of the input of the output projection.</summary>
    [JsonIgnore]
    public int QueryWidth => 2 * Heads * HeadSize;

    /// <summary>Gets the total width of the keys, which is also that of the values.</summary>
    [JsonIgnore]
    public int KeyWidth => 2 * KeyValueHeads * HeadSize;

    /// <summary>Gets the letter <c>D</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "D";

    internal override MixerKind Kind => MixerKind.Attention;

    internal override bool IsFullAttention => true;

    internal override bool HasPositions => Rotary is not null;

    internal override MixerSpec WithoutPositions() => this with { Rotary = null };

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        Require.AtLeast(Heads, 1, "heads");
        if (HeadSize == 0) Require.That(width % (2L * Heads) == 0, "heads", Heads, $"a divisor of half of the width {width}, or a head size");
        return this with
        {
            KeyValueHeads = KeyValueHeads == 0 ? Heads : KeyValueHeads, HeadSize = HeadSize == 0 ? width / 2 / Heads : HeadSize,
            Rotary = Rotary is { Fraction: 0 } ? null : Rotary,
        };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(KeyValueHeads, "keyValueHeads");
        Require.Divides(KeyValueHeads, "keyValueHeads", Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size(2L * Heads * HeadSize, "2 x heads x headSize");
        Require.That(InitialMultiplier is >= 0 and < 1, "initialMultiplier", InitialMultiplier, "a number of at least 0 and below 1");
        Rotary?.Check(HeadSize);
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => (long)CountMatrixWeights(width) + 6L * HeadSize;          // four vectors; norm

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => 2.0 * ((double)QueryWidth + KeyWidth) * width;

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) =>
        2.0 * (QueryWidth + 2.0 * QueryWidth) * seen.Count();

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => new(KeysAndValues: length * 2L * KeyWidth * elementSize);

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * length * 2.0 * KeyWidth;

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // queries, keys and values; both results, their difference, what is projected out; a float32 sum of exponentials per head and distribution
        return (5.0 * QueryWidth + 2.0 * KeyWidth) * step.ElementSize + 8.0 * Heads;
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Differential attention",
        FormattableString.Invariant($"differential attention {Heads}({KeyValueHeads})x{HeadSize}"),
        $"{MixerDescription.Counted(Heads, "head")} × 2 × {HeadSize}"
        + (KeyValueHeads == Heads ? "" : $", {MixerDescription.Counted(KeyValueHeads, "key-value head")}") + (Rotary is null ? ", no positions" : ""),
        MixerColor.DifferentialAttention);
}
