using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>The selective state-space layer of Mamba (arXiv 2312.00752). Sizes left at 0 are derived by <see cref="Resolve(int)"/>.</summary>
public sealed record Mamba1Spec : MixerSpec, IStateSpaceSpec
{
    /// <summary>Channels of the scan; 0: twice the model width.</summary>
    public int InnerWidth { get; init; }

    /// <summary>State values per channel; 0: 16.</summary>
    public int StateSize { get; init; }

    /// <summary>Taps of the causal convolution.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>Rank of the time-step projection; 0: model width over 16, rounded up.</summary>
    public int TimeStepRank { get; init; }

    /// <summary>A bias on the convolution.</summary>
    public bool ConvolutionBias { get; init; } = true;

    /// <summary>The nonlinearity after the convolution and on the gate.</summary>
    public Activation Activation { get; init; }

    /// <summary>Biases on the projections in and out.</summary>
    public bool ProjectionBias { get; init; }

    /// <summary>The norm over time step (before its projection), B and C.</summary>
    public SelectionNorm SelectionNorm { get; init; }

    /// <summary>Epsilon of that norm; null: as the block's.</summary>
    public double? SelectionNormEpsilon { get; init; }

    /// <summary>Time steps at the start of training, log-uniform.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Least time step at the start of training.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary><c>m</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "m";

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
        Require.Defined(Activation, "activation");
        Require.Defined(SelectionNorm, "selectionNorm");
        if (SelectionNormEpsilon is { } epsilon) Require.Positive(epsilon, "selectionNormEpsilon");
        Require.Present(TimeStepRange, "timeStepRange", "a range");
        TimeStepRange.CheckPositive("timeStepRange");
        Require.NotNegative(TimeStepFloor, "timeStepFloor");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => CountInputParameters(width) + CountOutputParameters(width);

    /// <inheritdoc/>
    public long CountInputParameters(int width)
    {
        long inner = InnerWidth, input = 2 * inner * width + (ProjectionBias ? 2 * inner : 0);
        long convolution = inner * (ConvolutionWidth + (ConvolutionBias ? 1 : 0));
        long selection = inner * (TimeStepRank + 2L * StateSize) + TimeStepRank * inner + inner;       // to (dt, B, C), then dt to channels with its bias
        if (SelectionNorm == SelectionNorm.Weighted) selection += TimeStepRank + 2L * StateSize;
        return input + convolution + selection + inner * StateSize + inner;                             // A_log, D
    }

    /// <inheritdoc/>
    public long CountOutputParameters(int width) => (long)InnerWidth * width + (ProjectionBias ? width : 0);
}
