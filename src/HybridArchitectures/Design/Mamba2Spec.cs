using System.Text.Json.Serialization;
using HybridArchitectures.Kernels.Operators;

namespace HybridArchitectures.Design;

/// <summary>Describes the state-space dual layer of Mamba-2 (arXiv 2405.21060). <see cref="Resolve(int)"/> derives sizes that are 0.</summary>
/// <example>
/// <code>
/// var mamba2 = new Mamba2Spec { StateSize = 128, HeadSize = 64, ChunkSize = 128 };
/// HybridDesign design = HybridDesign.Create(width: 256, vocabularySize: 256).WithMamba2(mamba2)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(704)).Depth(4).Build();
/// </code>
/// </example>
public sealed record Mamba2Spec : MixerSpec, IStateSpaceSpec
{
    /// <summary>
    /// Gets or sets the number of heads (H). The default, 0, means as many as are needed for an inner width of twice the model width.
    /// </summary>
    public int Heads { get; init; }

    /// <summary>
    /// Gets or sets the number of channels per head (P). The default, 0, means 64, or twice the model width divided by <see cref="Heads"/> if that is
    /// set.
    /// </summary>
    public int HeadSize { get; init; }

    /// <summary>Gets or sets the number of state values per channel (N). The default, 0, means 128.</summary>
    public int StateSize { get; init; }

    /// <summary>Gets or sets the number of groups (G) with separate B and C. Each group serves the same number of heads. The default is 1.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Gets or sets the width of the causal convolution. The default is 4.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>Gets or sets whether the convolution has a bias. The default is true.</summary>
    public bool ConvolutionBias { get; init; } = true;

    /// <summary>Gets or sets the nonlinearity after the convolution. The default is SiLU. The nonlinearity of the gate is always SiLU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); }

    /// <summary>Gets or sets whether the input and output projections have biases. The default is false.</summary>
    public bool ProjectionBias { get; init; }

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed as one matrix product, a power of two. The default is 64.
    /// </summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>
    /// Gets or sets whether the gated output passes through an RMSNorm with weight. If false, the gate only multiplies. The default is true.
    /// </summary>
    public bool GatedNorm { get; init; } = true;

    /// <summary>Gets or sets whether the norm is applied before the gate. The default, false, applies it to the gated output.</summary>
    public bool NormBeforeGate { get; init; }

    /// <summary>
    /// Gets or sets the number of equal groups of the inner width that the gated norm normalizes separately. The default, 0, means
    /// <see cref="Groups"/>, as in mamba_ssm. 1 normalizes the whole inner width.
    /// </summary>
    public int NormGroups { get; init; }

    /// <summary>Gets or sets the epsilon of the gated norm. The default, null, means that of the block.</summary>
    public double? GatedNormEpsilon { get; init; }

    /// <summary>Gets or sets whether the output projection has a bias. The default, null, means <see cref="ProjectionBias"/>.</summary>
    public bool? OutputBias { get; init; }

    /// <summary>Gets or sets the multiplier of the input of the mixer. The default is 1.</summary>
    public double InputScale { get; init; } = 1;

    /// <summary>Gets or sets the multipliers of the parts of the input projection. The default, null, means none.</summary>
    public ProjectionScales? ProjectionScales { get; init; }

    /// <summary>Gets or sets the multiplier of the output of the mixer. The default is 1.</summary>
    public double OutputScale { get; init; } = 1;

    /// <summary>
    /// Gets or sets the range of -A at the start of training, uniform. The default is 0.01 to 2, as in arXiv 2510.04800. The original layer uses 1 to
    /// 16.
    /// </summary>
    public Interval DecayRange { get; init; } = new(0.01, 2);

    /// <summary>Gets or sets the range of time steps at the start of training, log-uniform. The default is 0.001 to 0.1.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Gets or sets the minimum time step at the start of training. The default is 1e-4.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Gets or sets the limits to which time steps are clamped at every token. The default, null, means no limits.</summary>
    public Interval? TimeStepLimit { get; init; }

    /// <summary>Gets whether the output projection has a bias.</summary>
    [JsonIgnore]
    public bool HasOutputBias => OutputBias ?? ProjectionBias;

    /// <summary>Gets <see cref="NormGroups"/>, with 0 replaced by the derived number.</summary>
    internal int GatedNormGroups => NormGroups == 0 ? Groups : NormGroups;

    /// <summary>Gets the number of channels of the scan (inner width): heads times head size.</summary>
    [JsonIgnore]
    public int InnerWidth => Heads * HeadSize;

    /// <summary>Gets the number of channels of the convolution: x, B and C.</summary>
    [JsonIgnore]
    public int ConvolutionChannels => InnerWidth + 2 * Groups * StateSize;

    /// <summary>Gets the letter <c>M</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "M";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override bool StoresNarrowStates => true;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    internal override MixerSpec? WithConvolution() => ConvolutionWidth == 1 ? this with { ConvolutionWidth = 4 } : null;

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => ResolveInner(2 * width);

    MixerSpec IStateSpaceSpec.Resolve(int width, int innerWidth) => ResolveInner(innerWidth);

    Mamba2Spec ResolveInner(int innerWidth)
    {
        Require.AtLeast(Heads, 0, "heads");
        Require.AtLeast(HeadSize, 0, "headSize");
        int headSize = HeadSize, heads = Heads;
        if (heads == 0)
        {
            if (headSize == 0) headSize = 64;
            Require.Divides(headSize, "headSize", innerWidth, "inner width");
            heads = innerWidth / headSize;
        }
        else if (headSize == 0)
        {
            Require.Divides(heads, "heads", innerWidth, "inner width");
            headSize = innerWidth / heads;
        }
        return this with
        {
            Heads = heads, HeadSize = headSize, StateSize = StateSize == 0 ? 128 : StateSize, NormGroups = GatedNormGroups,
        };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size((long)Heads * HeadSize, "heads x headSize");
        Require.Size(StateSize, "stateSize");
        Require.AtLeast(Groups, 1, "groups");
        Require.Divides(Groups, "groups", Heads, "heads");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
        Require.AtLeast(NormGroups, 0, "normGroups");
        Require.Divides(GatedNormGroups, "normGroups", InnerWidth, "inner width");
        if (GatedNormEpsilon is { } epsilon) Require.Positive(epsilon, "gatedNormEpsilon");
        Require.Positive(InputScale, "inputScale");
        Require.Positive(OutputScale, "outputScale");
        ProjectionScales?.Check();
        Interval.CheckPositive(DecayRange, "decayRange");
        Interval.CheckPositive(TimeStepRange, "timeStepRange");
        Require.NotNegative(TimeStepFloor, "timeStepFloor");
        TimeStepLimit?.CheckOrdered("timeStepLimit");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => CountInputParameters(width) + CountOutputParameters(width);

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => ((IStateSpaceSpec)this).CountInputWeights(width) + (double)InnerWidth * width;

    double IStateSpaceSpec.CountInputWeights(int width) => (InnerWidth + (double)ConvolutionChannels + Heads) * width;

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen)
    {
        if (accounting == FlopAccounting.Paper) return 9.0 * InnerWidth * StateSize + 2.0 * InnerWidth;
        double states = 4.0 * InnerWidth * StateSize;
        if (seen.RowLength is not { } length) return states;
        double chunk = Math.Min(ChunkSize, length);
        return 2.0 * Groups * StateSize * chunk + 2.0 * InnerWidth * chunk + states;
    }

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => new(
        Convolutions: (ConvolutionWidth - 1L) * ConvolutionChannels * elementSize,
        Scans: (long)InnerWidth * StateSize * MixerCache.ScanElement(elementSize));

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) =>
        2.0 * (InnerWidth * (double)StateSize + ConvolutionWidth * (double)ConvolutionChannels);

    internal override bool SavesInput => InputScale != 1;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // gate, scan, gated output; input and output of the convolution; time steps
        double inner = step.RecomputesInputs ? 2 : 3, convolved = step.RecomputesInputs && Activation == Activation.Silu ? 1 : 2;
        return (inner * InnerWidth + convolved * ConvolutionChannels + Heads) * step.ElementSize
            + SavedStateMemory.StateSpaceDual(Heads, HeadSize, Groups, StateSize, ChunkSize, step.ElementSize, step.Tokens, step.Gpu);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Mamba-2", FormattableString.Invariant($"Mamba-2 {Heads}x{HeadSize}, state {StateSize}"),
        $"{MixerDescription.Counted(Heads, "head")} × {HeadSize}, state {StateSize}" + (Groups > 1 ? $", {Groups} groups" : ""), MixerColor.Mamba2);

    /// <inheritdoc/>
    public long CountInputParameters(int width)
    {
        long inner = InnerWidth, projected = 2 * inner + 2L * Groups * StateSize + Heads;               // z, x, B, C, dt
        long convolution = (long)ConvolutionChannels * (ConvolutionWidth + (ConvolutionBias ? 1 : 0));
        return projected * width + (ProjectionBias ? projected : 0) + convolution + 3L * Heads + (GatedNorm ? inner : 0);   // dt_bias, A_log, D
    }

    /// <inheritdoc/>
    public long CountOutputParameters(int width) => (long)InnerWidth * width + (HasOutputBias ? width : 0);
}
