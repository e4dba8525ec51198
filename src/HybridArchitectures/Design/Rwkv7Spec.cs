using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes the time mixing of RWKV-7 (arXiv 2503.14456): a shift that mixes each token with the one before it, and a generalized delta
/// rule. Its decays and rates of removal are separate for each key channel, and keys of what is removed and what is added differ. The outputs of each
/// head are normalized, and the current token is added with a bonus, before a gate. Decays, rates and gates are projected through low ranks.
/// </summary>
/// <remarks>
/// A published model also has <see cref="ValueRank"/>, the shift in its feed-forward layers (<see cref="MlpSpec.TokenShift"/>) and LayerNorm
/// (<see cref="HybridDesign.NormKind"/>, <see cref="HybridDesign.EmbeddingNorm"/>).
/// </remarks>
/// <example>
/// <code>
/// HybridDesign hybrid = HybridDesign.Create(width: 256, vocabularySize: 256)
///     .WithMixer(new Rwkv7Spec { Heads = 4 }).WithAttention(heads: 4)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(704)).Pattern("WWWT").Build();
/// HybridDesign published = HybridDesign.Create(width: 256, vocabularySize: 256)
///     .WithMixer(new Rwkv7Spec { Heads = 4, ValueRank = 0 })
///     .WithFeedForward(new MlpSpec(1024) { Activation = Activation.ReluSquared, TokenShift = true })
///     .Pattern("WWWW").TiedHead(false).Build() with { NormKind = NormKind.LayerNorm, EmbeddingNorm = true };
/// </code>
/// </example>
public sealed record Rwkv7Spec : MixerSpec
{
    /// <summary>Gets or sets the number of heads, each of which has a separate state.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Gets or sets the size of a head, of keys and values alike. The default, 0, means the model width divided by the number of heads. Published
    /// models use 64.
    /// </summary>
    public int HeadSize { get; init; }

    /// <summary>
    /// Gets or sets the rank of the projection of the decays. The default, 0, means 2.5 times the root of the model width, rounded to a multiple of
    /// 32, at least 32.
    /// </summary>
    public int DecayRank { get; init; }

    /// <summary>
    /// Gets or sets the rank of the projection of the rates of removal. The default, 0, means 2.5 times the root of the model width, rounded to a
    /// multiple of 32, at least 32.
    /// </summary>
    public int RateRank { get; init; }

    /// <summary>
    /// Gets or sets the rank of the projection of the gate. The default, 0, means 5 times the root of the model width, rounded to a multiple of 32,
    /// at least 32.
    /// </summary>
    public int GateRank { get; init; }

    /// <summary>
    /// Gets or sets the rank of the projection of the shares of the first layer's values: <c>value + share * (first value - value)</c>, where share
    /// is a sigmoid. The first layer of RWKV-7 in a design hands its values to the later ones, and has no rank itself: the builder and
    /// conversions remove it. The default, null, means that the values of the first layer are not used. 0 means 1.7 times the root of the model
    /// width, rounded to a multiple of 32, at least 32.
    /// </summary>
    public int? ValueRank { get; init; }

    /// <summary>
    /// Gets or sets the epsilon that is added to the squared length of a head's removals before they are divided by their length. The default is
    /// 1e-6.
    /// </summary>
    public double RemovalEpsilon { get; init; } = 1e-6;

    /// <summary>Gets or sets the epsilon of the norm of a head's output. The default, null, means 1e-5 times the size of a head.</summary>
    public double? OutputNormEpsilon { get; init; }

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed as one matrix product, a power of two. The default is 64. Above 64, a
    /// token needs three tables of chunk size x head size numbers per head.
    /// </summary>
    public int ChunkSize { get; init; } = 64;

    // up to this size, what remains after a chunk of the strongest decays is far above the smallest number of float32
    const int MaxChunkOfFactors = 64;

    /// <summary>Gets the epsilon of the norm of a head's output.</summary>
    internal double HeadNormEpsilon => OutputNormEpsilon ?? 1e-5 * HeadSize;

    /// <summary>Gets the total width of the heads: of queries, keys, values, decays, rates and gates.</summary>
    [JsonIgnore]
    public int InnerWidth => Heads * HeadSize;

    /// <summary>Gets the letter <c>W</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "W";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    // removals can exceed what decays leave (arXiv 2503.14456, abstract)
    internal override bool TracksStates => true;

    // as the authors' code chooses ranks
    static int Rank(double multiplier, int width) => Math.Max(32, (int)Math.Round(multiplier * Math.Sqrt(width) / 32) * 32);

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
            HeadSize = size, DecayRank = DecayRank == 0 ? Rank(2.5, width) : DecayRank, RateRank = RateRank == 0 ? Rank(2.5, width) : RateRank,
            GateRank = GateRank == 0 ? Rank(5, width) : GateRank, ValueRank = ValueRank == 0 ? Rank(1.7, width) : ValueRank,
        };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size((long)Heads * HeadSize, "heads x headSize");
        Require.Size(DecayRank, "decayRank");
        Require.Size(RateRank, "rateRank");
        Require.Size(GateRank, "gateRank");
        if (ValueRank is { } rank) Require.Size(rank, "valueRank");
        Require.Positive(RemovalEpsilon, "removalEpsilon");
        if (OutputNormEpsilon is { } epsilon) Require.Positive(epsilon, "outputNormEpsilon");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
    }

    // queries, keys, values and output; both matrices of decays, rates, gate and shares of the first values
    double MatrixWeights(int width) =>
        4.0 * InnerWidth * width + ((double)DecayRank + RateRank + GateRank + (ValueRank ?? 0)) * ((double)width + InnerWidth);

    /// <inheritdoc/>
    public override long CountParameters(int width) =>
        // six mixes of the shift; biases of decays, rates and shares; scales of removals, keys and the bonus; weight and bias of the norm
        (long)MatrixWeights(width) + 6L * width + (ValueRank is null ? 7L : 8L) * InnerWidth;

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => MatrixWeights(width);

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen)
    {
        // decay, what the removal reads and removes, what is added, what the query reads
        if (accounting == FlopAccounting.Paper) return 9.0 * InnerWidth * HeadSize;
        double states = 8.0 * InnerWidth * HeadSize;
        return seen.RowLength is { } length ? 16.0 * Math.Min(ChunkSize, length) * InnerWidth + states : states;
    }

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => new(
        Convolutions: (long)width * elementSize, Scans: (long)InnerWidth * HeadSize * MixerCache.ScanElement(elementSize));

    /// <summary>Counts the state and the one input of the shift, two bytes per value.</summary>
    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * ((double)InnerWidth * HeadSize + width);

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // the shift and its six mixtures; queries, keys, values, rates before the nonlinearity, gate, what is projected out; the low-rank vectors
        double activations = 7.0 * width + 6.0 * InnerWidth + DecayRank + RateRank + 2.0 * GateRank;
        // float32: decays, rates, both keys and their factors, outputs before and after norm and bonus; per head numbers for every pair of a chunk,
        // the inputs in chunks with and without what remains, and the solution; a state at each chunk; in longer chunks three tables of keys for
        // every pair
        double numbers = 12.0 * InnerWidth + Heads * (ChunkSize <= MaxChunkOfFactors ? 8.0 * ChunkSize + 22.0 * HeadSize
            : 3.0 * ChunkSize * HeadSize + 12.0 * ChunkSize + 10.0 * HeadSize);
        // the shares before and after the sigmoid, the difference of values, and the low-rank vector
        if (ValueRank is { } rank) numbers += 3.0 * InnerWidth + rank;
        return activations * step.ElementSize + sizeof(float) * (numbers + (double)InnerWidth * HeadSize / ChunkSize);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("RWKV-7", FormattableString.Invariant($"RWKV-7 {Heads}x{HeadSize}"),
        $"{MixerDescription.Counted(Heads, "head")} × {HeadSize}", MixerColor.Rwkv7);
}
