using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes causal multi-head latent attention (arXiv 2405.04434, section 2.1). Keys and values of all heads are projections of one compressed
/// vector per token. The cache contains that vector and a part of the keys that all heads share. Only the shared part and the corresponding part of
/// the queries can have rotary positions.
/// </summary>
public sealed record LatentAttentionSpec : MixerSpec
{
    /// <summary>Gets or sets the number of heads.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Gets or sets the size of the part of a query and key head that is projected from the compressed vector. The default, 0, means the model width
    /// divided by the number of heads.
    /// </summary>
    public int HeadSize { get; init; }

    /// <summary>Gets or sets the size of the part of the keys that all heads share. The default is 64.</summary>
    public int SharedKeySize { get; init; } = 64;

    /// <summary>Gets or sets the size of a value head. The default, 0, means <see cref="HeadSize"/>.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>Gets or sets the size of the compressed vector of keys and values.</summary>
    public required int KeyValueRank { get; init; }

    /// <summary>Gets or sets the size of the compressed vector of the queries. The default, 0, means that queries are not compressed.</summary>
    public int QueryRank { get; init; }

    /// <summary>Gets or sets the rotary positions of the shared part of the keys. The default, null, means no positions.</summary>
    public RotarySpec? Rotary { get; init; }

    /// <summary>
    /// Gets or sets the scale of query-key products. The default, null, means 1/sqrt(<see cref="HeadSize"/> + <see cref="SharedKeySize"/>).
    /// </summary>
    public double? Scale { get; init; }

    /// <summary>
    /// Gets or sets whether the projections into the compressed vectors and the output projection have biases. The default is false.
    /// </summary>
    public bool Bias { get; init; }

    /// <summary>Gets or sets the epsilon of the norms of the compressed vectors. The default is 1e-6.</summary>
    public double LatentNormEpsilon { get; init; } = 1e-6;

    /// <summary>Gets the size of a complete query and key head.</summary>
    [JsonIgnore]
    public int KeySize => HeadSize + SharedKeySize;

    /// <summary>Gets the total width of all query heads.</summary>
    [JsonIgnore]
    public int QueryWidth => Heads * KeySize;

    /// <summary>Gets the width of the output of the heads before the output projection.</summary>
    [JsonIgnore]
    public int OutputWidth => Heads * ValueHeadSize;

    /// <summary>Gets the width of the projection from the compressed vector: the keys' own parts and the values.</summary>
    [JsonIgnore]
    public int ExpandedWidth => Heads * (HeadSize + ValueHeadSize);

    /// <summary>Gets the letter <c>A</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "A";

    internal override MixerKind Kind => MixerKind.Attention;

    internal override bool IsFullAttention => true;

    internal override bool HasPositions => Rotary is not null;

    internal override MixerSpec WithoutPositions() => this with { Rotary = null };

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        Require.AtLeast(Heads, 1, "heads");
        int size = HeadSize;
        if (size == 0)
        {
            Require.That(width % Heads == 0, "heads", Heads, $"a divisor of the width {width}, or a head size");
            size = width / Heads;
        }
        return this with
        {
            HeadSize = size, ValueHeadSize = ValueHeadSize == 0 ? size : ValueHeadSize, Rotary = Rotary is { Fraction: 0 } ? null : Rotary,
        };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size(SharedKeySize, "sharedKeySize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)Heads * KeySize, "heads x (headSize + sharedKeySize)");
        Require.Size((long)Heads * (HeadSize + ValueHeadSize), "heads x (headSize + valueHeadSize)");
        Require.Size(KeyValueRank, "keyValueRank");
        Require.AtLeast(QueryRank, 0, "queryRank");
        if (QueryRank != 0) Require.Size(QueryRank, "queryRank");
        if (Scale is { } scale) Require.Positive(scale, "scale");
        Require.Positive(LatentNormEpsilon, "latentNormEpsilon");
        Rotary?.Check(SharedKeySize);
    }

    double QueryWeights(int width) => QueryRank == 0 ? (double)QueryWidth * width : (double)QueryRank * ((double)width + QueryWidth);

    /// <inheritdoc/>
    public override long CountParameters(int width) =>
        (long)CountMatrixWeights(width) + QueryRank + KeyValueRank + (Bias ? (long)QueryRank + KeyValueRank + SharedKeySize + width : 0);

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) =>
        QueryWeights(width) + ((double)KeyValueRank + SharedKeySize) * width + (double)KeyValueRank * ExpandedWidth + (double)OutputWidth * width;

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen)
    {
        // a decoding step compares queries with the compressed vectors themselves, and does not expand those of earlier tokens
        bool isStep = seen.RowLength is null && accounting != FlopAccounting.Paper;
        double perPair = isStep ? 2.0 * KeyValueRank + SharedKeySize : (double)KeySize + ValueHeadSize;
        return 2.0 * Heads * perPair * seen.Count();
    }

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) =>
        new(KeysAndValues: length * ((long)KeyValueRank + SharedKeySize) * elementSize);

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * length * ((double)KeyValueRank + SharedKeySize);

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // the compressed vectors before and after their norms, the expanded keys and values, the inputs and outputs of attention, padded to one head
        // size, and a float32 sum of exponentials per head
        double size = Math.Max(KeySize, ValueHeadSize);
        double channels = 2.0 * KeyValueRank + SharedKeySize + 2.0 * QueryRank + ExpandedWidth + 4.0 * size * Heads;
        return channels * step.ElementSize + 4.0 * Heads;
    }

    /// <inheritdoc/>
    public override MixerDescription Describe()
    {
        string summary = FormattableString.Invariant($"latent attention {Heads}x({HeadSize}+{SharedKeySize})")
            + (ValueHeadSize == HeadSize ? "" : FormattableString.Invariant($"/{ValueHeadSize}"))
            + FormattableString.Invariant($", rank {KeyValueRank}");
        string details = $"{MixerDescription.Counted(Heads, "head")} × {KeySize}" + (ValueHeadSize == KeySize ? "" : $" (values {ValueHeadSize})")
            + $", cache {KeyValueRank} + {SharedKeySize}" + (Rotary is null ? ", no positions" : "");
        return new("Latent attention", summary, details, MixerColor.LatentAttention);
    }
}
