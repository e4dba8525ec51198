using System.Text.Json.Serialization;
using HybridArchitectures.Kernels.Operators;

namespace HybridArchitectures.Design;

/// <summary>Describes the selective state-space layer of Mamba-1 (arXiv 2312.00752). <see cref="Resolve(int)"/> derives sizes that are 0.</summary>
public sealed record Mamba1Spec : MixerSpec, IStateSpaceSpec
{
    /// <summary>Gets or sets the number of channels of the scan (inner width). The default, 0, means twice the model width.</summary>
    public int InnerWidth { get; init; }

    /// <summary>Gets or sets the number of state values per channel (N). The default, 0, means 16.</summary>
    public int StateSize { get; init; }

    /// <summary>Gets or sets the width of the causal convolution. The default is 4.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>Gets or sets the rank of the time-step projection. The default, 0, means the model width divided by 16, rounded up.</summary>
    public int TimeStepRank { get; init; }

    /// <summary>Gets or sets whether the convolution has a bias. The default is true.</summary>
    public bool ConvolutionBias { get; init; } = true;

    /// <summary>Gets or sets the nonlinearity after the convolution and on the gate. The default is SiLU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); }

    /// <summary>Gets or sets whether the input and output projections have biases. The default is false.</summary>
    public bool ProjectionBias { get; init; }

    /// <summary>Gets or sets the norm of the time step (before its projection), B and C. The default is <see cref="SelectionNorm.None"/>.</summary>
    public SelectionNorm SelectionNorm { get; init => field = Require.Defined(value, nameof(SelectionNorm)); }

    /// <summary>Gets or sets the epsilon of that norm. The default, null, means that of the block.</summary>
    public double? SelectionNormEpsilon { get; init; }

    /// <summary>Gets or sets the range of time steps at the start of training, log-uniform. The default is 0.001 to 0.1.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Gets or sets the minimum time step at the start of training. The default is 1e-4.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Gets the letter <c>m</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "m";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override bool StoresNarrowStates => true;

    internal override MixerSpec? WithConvolution() => ConvolutionWidth == 1 ? this with { ConvolutionWidth = 4 } : null;

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => Resolve(width, 2 * width);

    MixerSpec IStateSpaceSpec.Resolve(int width, int innerWidth) => Resolve(width, innerWidth);

    Mamba1Spec Resolve(int width, int innerWidth) => this with
    {
        InnerWidth = InnerWidth == 0 ? innerWidth : InnerWidth,
        StateSize = StateSize == 0 ? 16 : StateSize,
        TimeStepRank = TimeStepRank == 0 ? (width + 15) / 16 : TimeStepRank,
    };

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(InnerWidth, "innerWidth");
        Require.Size(StateSize, "stateSize");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        Require.Size(TimeStepRank, "timeStepRank");
        if (SelectionNormEpsilon is { } epsilon) Require.Positive(epsilon, "selectionNormEpsilon");
        Interval.CheckPositive(TimeStepRange, "timeStepRange");
        Require.NotNegative(TimeStepFloor, "timeStepFloor");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => CountInputParameters(width) + CountOutputParameters(width);

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => ((IStateSpaceSpec)this).CountInputWeights(width) + (double)InnerWidth * width;

    double IStateSpaceSpec.CountInputWeights(int width) => 2.0 * InnerWidth * width + InnerWidth * (2.0 * TimeStepRank + 2.0 * StateSize);

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) =>
        accounting == FlopAccounting.Paper ? 9.0 * InnerWidth * StateSize + 2.0 * InnerWidth : 4.0 * InnerWidth * StateSize;

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => new(
        Convolutions: (ConvolutionWidth - 1L) * InnerWidth * elementSize, Scans: (long)InnerWidth * StateSize * MixerCache.ScanElement(elementSize));

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * InnerWidth * ((double)StateSize + ConvolutionWidth);

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // projection, convolution, time step, B, C, output
        return (5.0 * InnerWidth + TimeStepRank + 2.0 * StateSize) * step.ElementSize
            + SavedStateMemory.SelectiveScan(InnerWidth, StateSize, step.Gpu is not null);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Mamba-1", FormattableString.Invariant($"Mamba-1 {InnerWidth}, state {StateSize}"),
        FormattableString.Invariant($"inner width {InnerWidth:N0}, state {StateSize}"), MixerColor.Mamba1);

    /// <inheritdoc/>
    public long CountInputParameters(int width)
    {
        long inner = InnerWidth, input = 2 * inner * width + (ProjectionBias ? 2 * inner : 0);
        long convolution = inner * (ConvolutionWidth + (ConvolutionBias ? 1 : 0));
        // projection to (dt, B, C), then projection of dt to channels with its bias
        long selection = inner * (TimeStepRank + 2L * StateSize) + TimeStepRank * inner + inner;
        if (SelectionNorm == SelectionNorm.Weighted) selection += TimeStepRank + 2L * StateSize;
        return input + convolution + selection + inner * StateSize + inner;                             // A_log, D
    }

    /// <inheritdoc/>
    public long CountOutputParameters(int width) => (long)InnerWidth * width + (ProjectionBias ? width : 0);
}
