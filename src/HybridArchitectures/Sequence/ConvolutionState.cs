using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Represents the state of a convolution mixer: its last inputs.</summary>
public sealed class ConvolutionState : MixerState
{
    /// <summary>Creates an empty state.</summary>
    /// <param name="convolution">(batch, width - 1, channels), newest last.</param>
    public ConvolutionState(Tensor convolution)
    {
        Require.Alive(convolution);
        Convolution = convolution.DetachFromDisposeScope();
    }

    /// <summary>Gets the last inputs, (batch, width - 1, channels), newest last.</summary>
    public Tensor Convolution { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [Convolution];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new ConvolutionState(Rows(Convolution, rows));
}
