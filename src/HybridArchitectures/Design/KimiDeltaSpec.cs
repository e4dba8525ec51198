using System.Text.Json.Serialization;
using HybridArchitectures.Kernels.Operators;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes Kimi delta attention (arXiv 2510.26692): a causal convolution with SiLU over queries, keys and values, normalization of queries and
/// keys to length 1, the gated delta rule with a separate decay for each key channel, and a norm followed by a sigmoid gate per channel. The decays
/// and the gate are projected through a low rank.
/// </summary>
/// <example>
/// <code>
/// HybridDesign design = HybridDesign.Create(width: 256, vocabularySize: 256)
///     .WithMixer(new KimiDeltaSpec { Heads = 4, HeadSize = 64 })
///     .WithMixer(new LatentAttentionSpec { Heads = 4, HeadSize = 64, SharedKeySize = 32, KeyValueRank = 96 })
///     .WithFeedForward(FeedForwardSpec.SwiGlu(704)).Pattern("KKKA").Build();
/// </code>
/// </example>
public sealed record KimiDeltaSpec : MixerSpec
{
    /// <summary>Gets or sets the number of heads, each of which has a separate state.</summary>
    public required int Heads { get; init; }

    /// <summary>Gets or sets the size of a query and key head. The default, 0, means the model width divided by the number of heads.</summary>
    public int HeadSize { get; init; }

    /// <summary>Gets or sets the size of a value head. The default, 0, means <see cref="HeadSize"/>.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>Gets or sets the rank of the projection of the decays. The default, 0, means <see cref="HeadSize"/>.</summary>
    public int DecayRank { get; init; }

    /// <summary>Gets or sets the rank of the projection of the gate. The default, 0, means <see cref="ValueHeadSize"/>.</summary>
    public int GateRank { get; init; }

    /// <summary>Gets or sets the width of the causal convolution. The default is 4.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>
    /// Gets or sets whether update strengths reach from 0 to 2 instead of 0 to 1, so that the state transition can have negative eigenvalues
    /// (arXiv 2411.12537). The default is false.
    /// </summary>
    public bool NegativeEigenvalues { get; init; }

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed as one matrix product, a power of two. A token needs a table of chunk size
    /// x head size numbers per head. The default is 16. The CUDA kernels, which need no table, always use chunks of 64 tokens.
    /// </summary>
    public int ChunkSize { get; init; } = 16;

    /// <summary>Gets or sets the range of -A at the start of training, uniform. The default is 1 to 16.</summary>
    public Interval DecayRange { get; init; } = new(1, 16);

    /// <summary>Gets or sets the range of time steps at the start of training, log-uniform. The default is 0.001 to 0.1.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Gets or sets the minimum time step at the start of training. The default is 1e-4.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Gets the total width of the keys, which is also that of the queries and of the decays.</summary>
    [JsonIgnore]
    public int KeyWidth => Heads * HeadSize;

    /// <summary>Gets the total width of the values, which is also that of the gate and of the input of the output projection.</summary>
    [JsonIgnore]
    public int ValueWidth => Heads * ValueHeadSize;

    /// <summary>Gets the number of channels of the convolution: queries, keys and values.</summary>
    [JsonIgnore]
    public int ConvolutionChannels => 2 * KeyWidth + ValueWidth;

    /// <summary>Gets the letter <c>K</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "K";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    internal override MixerSpec? WithConvolution() => ConvolutionWidth == 1 ? this with { ConvolutionWidth = 4 } : null;

    internal override bool TracksStates => NegativeEigenvalues;

    internal override MixerSpec? WithStateTracking() => this with { NegativeEigenvalues = true };

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
        int valueSize = ValueHeadSize == 0 ? size : ValueHeadSize;
        return this with
        {
            HeadSize = size, ValueHeadSize = valueSize, DecayRank = DecayRank == 0 ? size : DecayRank,
            GateRank = GateRank == 0 ? valueSize : GateRank,
        };
    }

    DeltaStateSize Sizes => new(Heads, HeadSize, ValueHeadSize, ChunkSize, ConvolutionWidth, ConvolutionChannels);

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)Heads * HeadSize, "heads x headSize");
        Require.Size((long)Heads * ValueHeadSize, "heads x valueHeadSize");
        Require.Size(DecayRank, "decayRank");
        Require.Size(GateRank, "gateRank");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
        DeltaStateSize.CheckRates(DecayRange, TimeStepRange, TimeStepFloor);
    }

    // queries, keys and values, strengths, and the first matrices of decays and gate; the second ones; the output
    double MatrixWeights(int width) =>
        ((double)ConvolutionChannels + Heads + DecayRank + GateRank) * width + (double)DecayRank * KeyWidth + (double)GateRank * ValueWidth
        + (double)ValueWidth * width;

    /// <inheritdoc/>
    public override long CountParameters(int width) =>
        (long)MatrixWeights(width) + (long)ConvolutionChannels * ConvolutionWidth + KeyWidth + Heads + ValueHeadSize;  // dt_bias, A_log, norm

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => MatrixWeights(width);

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
        // the convolution's input and output, what is normed, the norm, the gate, what is projected out, and the low-rank vectors
        double channels = 2.0 * ConvolutionChannels + 4.0 * ValueWidth + DecayRank + GateRank;
        return channels * step.ElementSize
            + SavedStateMemory.ChannelDeltaRule(Heads, HeadSize, ValueHeadSize, ChunkSize, step.ElementSize, step.Gpu);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Kimi delta attention",
        FormattableString.Invariant($"Kimi delta {Heads}x{HeadSize}")
        + (ValueHeadSize == HeadSize ? "" : FormattableString.Invariant($"/{ValueHeadSize}")) + (NegativeEigenvalues ? ", strength to 2" : ""),
        $"{MixerDescription.Counted(Heads, "head")} × {HeadSize}" + (ValueHeadSize == HeadSize ? "" : $" (values {ValueHeadSize})")
        + (NegativeEigenvalues ? ", negative eigenvalues" : ""), MixerColor.KimiDelta);
}
