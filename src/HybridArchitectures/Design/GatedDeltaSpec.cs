using System.Text.Json.Serialization;
using HybridArchitectures.Kernels.Operators;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes the gated delta net (arXiv 2412.06464) of Qwen3-Next, Qwen3.5 and Olmo-Hybrid: a causal convolution over queries, keys and values,
/// normalization of queries and keys to length 1, the gated delta rule, and a norm followed by a gate per head. Without decays and output gate it is
/// DeltaNet (arXiv 2406.06484).
/// </summary>
public sealed record GatedDeltaSpec : MixerSpec
{
    /// <summary>Gets or sets the number of query and key heads, a divisor of <see cref="ValueHeads"/>.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>Gets or sets the number of value heads, each of which has a separate state. The default, 0, means the number of key heads.</summary>
    public int ValueHeads { get; init; }

    /// <summary>Gets or sets the size of a query and key head.</summary>
    public required int KeyHeadSize { get; init; }

    /// <summary>Gets or sets the size of a value head. The default, 0, means <see cref="KeyHeadSize"/>.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>Gets or sets the width of the causal convolution. The default is 4.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>Gets or sets whether the convolution has a bias. The default is false.</summary>
    public bool ConvolutionBias { get; init; }

    /// <summary>Gets or sets the nonlinearity after the convolution. The default is SiLU. The nonlinearity of the gate is always SiLU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); }

    /// <summary>
    /// Gets or sets whether update strengths reach from 0 to 2 instead of 0 to 1, so that the state transition can have negative eigenvalues
    /// (arXiv 2411.12537). The default is false.
    /// </summary>
    public bool NegativeEigenvalues { get; init; }

    /// <summary>
    /// Gets or sets whether the state decays. Without decays (arXiv 2406.06484), the state only forgets what it overwrites, and time steps and decay
    /// rates have no parameters. The default is true.
    /// </summary>
    public bool Decays { get; init; } = true;

    /// <summary>Gets or sets whether a gate multiplies the normed output. The default is true.</summary>
    public bool OutputGate { get; init; } = true;

    /// <summary>Gets or sets the epsilon of the gated norm. The default, null, means that of the block.</summary>
    public double? GatedNormEpsilon { get; init; }

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed as one matrix product, a power of two. The default is 64.
    /// </summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>Gets or sets the range of -A at the start of training, uniform. The default is 0.01 to 16.</summary>
    public Interval DecayRange { get; init; } = new(0.01, 16);

    /// <summary>Gets or sets the range of time steps at the start of training, log-uniform. The default is 0.001 to 0.1.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Gets or sets the minimum time step at the start of training. The default is 1e-4.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Gets the total width of the keys, which is also that of the queries.</summary>
    [JsonIgnore]
    public int KeyWidth => KeyHeads * KeyHeadSize;

    /// <summary>Gets the total width of the values, which is also that of the gate and of the input of the output projection.</summary>
    [JsonIgnore]
    public int ValueWidth => ValueHeads * ValueHeadSize;

    /// <summary>Gets the number of channels of the convolution: queries, keys and values.</summary>
    [JsonIgnore]
    public int ConvolutionChannels => 2 * KeyWidth + ValueWidth;

    /// <summary>Gets the letter <c>G</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "G";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    internal override MixerSpec? WithConvolution() => ConvolutionWidth == 1 ? this with { ConvolutionWidth = 4 } : null;

    internal override bool TracksStates => NegativeEigenvalues;

    internal override MixerSpec? WithStateTracking() => this with { NegativeEigenvalues = true };

    /// <summary>Returns a gated delta net with as many key heads as value heads.</summary>
    internal static GatedDeltaSpec WithHeads(int heads, int keySize, int valueSize) =>
        new() { KeyHeads = heads, ValueHeads = heads, KeyHeadSize = keySize, ValueHeadSize = valueSize };

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) =>
        this with { ValueHeads = ValueHeads == 0 ? KeyHeads : ValueHeads, ValueHeadSize = ValueHeadSize == 0 ? KeyHeadSize : ValueHeadSize };

    DeltaStateSize Sizes => new(ValueHeads, KeyHeadSize, ValueHeadSize, ChunkSize, ConvolutionWidth, ConvolutionChannels);

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(KeyHeads, "keyHeads");
        Require.Size(ValueHeads, "valueHeads");
        Require.Divides(KeyHeads, "keyHeads", ValueHeads, "valueHeads");
        Require.Size(KeyHeadSize, "keyHeadSize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)KeyHeads * KeyHeadSize, "keyHeads x keyHeadSize");
        Require.Size((long)ValueHeads * ValueHeadSize, "valueHeads x valueHeadSize");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        if (GatedNormEpsilon is { } epsilon) Require.Positive(epsilon, "gatedNormEpsilon");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
        DeltaStateSize.CheckRates(DecayRange, TimeStepRange, TimeStepFloor);
    }

    /// <summary>Gets the total width of the input projections: queries, keys, values and gate, update strengths and time steps.</summary>
    internal long ProjectedWidth => InputWidth + RatesWidth;

    /// <summary>Gets the width of the projection of queries, keys, values and gate.</summary>
    internal long InputWidth => 2L * KeyWidth + (OutputGate ? 2L : 1L) * ValueWidth;

    /// <summary>Gets the width of the projection of update strengths and time steps.</summary>
    internal long RatesWidth => (Decays ? 2L : 1L) * ValueHeads;

    /// <inheritdoc/>
    public override long CountParameters(int width) =>
        ProjectedWidth * width + (long)ConvolutionChannels * (ConvolutionWidth + (ConvolutionBias ? 1 : 0))
        + (Decays ? 2L * ValueHeads : 0) + ValueHeadSize + (long)ValueWidth * width;                     // dt_bias, A_log; norm; output

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => ((double)ProjectedWidth + ValueWidth) * width;

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
        // the convolution's input and output, what is normed, the gate, what is projected out; after a gate, the latter is computed again
        double values = OutputGate ? step.RecomputesInputs ? 2 : 3 : 2;
        double channels = 2.0 * ConvolutionChannels + values * ValueWidth;
        // rates in float32
        return channels * step.ElementSize + 8.0 * sizeof(float) * ValueHeads
            + SavedStateMemory.GatedDeltaRule(ValueHeads, KeyHeads, KeyHeadSize, ValueHeadSize, ChunkSize, step.ElementSize, step.Gpu);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new(Decays ? "Gated delta net" : "Delta net",
        FormattableString.Invariant($"{(Decays ? "gated delta" : "delta")} {ValueHeads}({KeyHeads})x{KeyHeadSize}")
        + (ValueHeadSize == KeyHeadSize ? "" : FormattableString.Invariant($"/{ValueHeadSize}"))
        + (NegativeEigenvalues ? ", strength to 2" : ""),
        $"{MixerDescription.Counted(ValueHeads, "head")} × {ValueHeadSize}, keys {KeyHeads} × {KeyHeadSize}"
        + (NegativeEigenvalues ? ", negative eigenvalues" : ""), MixerColor.GatedDelta);
}
