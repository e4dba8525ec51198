using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Represents the state of Mamba-3. Its size does not grow with the length.</summary>
public sealed class Mamba3State : MixerState
{
    /// <summary>Creates an empty state from zeros, all float32 (float64 with float64 activations).</summary>
    /// <param name="scan">The state of the scan, (batch, heads, head size, state size).</param>
    /// <param name="angles">The angles, (batch, heads, angles).</param>
    /// <param name="lastB">The rotated B of the last token, (batch, heads, state size).</param>
    /// <param name="lastX">The x of the last token, (batch, heads, head size).</param>
    public Mamba3State(Tensor scan, Tensor angles, Tensor lastB, Tensor lastX)
    {
        ArgumentNullException.ThrowIfNull(scan);
        ArgumentNullException.ThrowIfNull(angles);
        ArgumentNullException.ThrowIfNull(lastB);
        ArgumentNullException.ThrowIfNull(lastX);
        Scan = scan.DetachFromDisposeScope();
        Angles = angles.DetachFromDisposeScope();
        LastB = lastB.DetachFromDisposeScope();
        LastX = lastX.DetachFromDisposeScope();
    }

    /// <summary>
    /// Gets the state of the scan without the part of the last token that the next one weights, (batch, heads, head size, state size).
    /// </summary>
    public Tensor Scan { get; }

    /// <summary>Gets the sums of the angles of all tokens, from 0 to 2 pi, (batch, heads, angles).</summary>
    public Tensor Angles { get; }

    /// <summary>Gets the rotated B of the last token, (batch, heads, state size).</summary>
    public Tensor LastB { get; }

    /// <summary>Gets the x of the last token, (batch, heads, head size).</summary>
    public Tensor LastX { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [Scan, Angles, LastB, LastX];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new Mamba3State(Rows(Scan, rows), Rows(Angles, rows), Rows(LastB, rows), Rows(LastX, rows));
}
