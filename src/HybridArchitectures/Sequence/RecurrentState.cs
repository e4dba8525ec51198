using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Represents the state of a state-space mixer: the last inputs of its convolution and the state of its scan. Its size does not grow with the length.
/// </summary>
public sealed class RecurrentState : MixerState
{
    /// <summary>Creates an empty state.</summary>
    /// <param name="convolution">(batch, width - 1, channels), newest last.</param>
    /// <param name="scan">The state of the scan, batch first, float32 or bfloat16 (float64 with float64 activations).</param>
    public RecurrentState(Tensor convolution, Tensor scan)
    {
        Require.Alive(convolution);
        ArgumentNullException.ThrowIfNull(scan);
        Convolution = convolution.DetachFromDisposeScope();
        Scan = scan.DetachFromDisposeScope();
    }

    /// <summary>Gets the last inputs of the convolution, (batch, width - 1, channels), newest last.</summary>
    public Tensor Convolution { get; }

    /// <summary>
    /// Gets the state of the scan: (batch, channels, stateSize) of Mamba-1, (batch, heads, headSize, stateSize) of Mamba-2; float32 or bfloat16
    /// (float64 with float64 activations).
    /// </summary>
    public Tensor Scan { get; }

    /// <summary>Gets the state of the scan as operators over whole rows read it: in float32 if it is bfloat16.</summary>
    internal Tensor WideScan => StateChecks.Wide(Scan);

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [Convolution, Scan];

    internal override MixerState WithStateType(ScalarType type)
    {
        if (Scan.dtype == type) return this;
        using (Scan) return new RecurrentState(Convolution, Scan.to(type));
    }

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new RecurrentState(Rows(Convolution, rows), Rows(Scan, rows));
}
