using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes LayerNorm with a weight and a bias (arXiv 1607.06450): (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * weight + bias over the
/// last dimension, in float32 for activations of 16 bits.
/// </summary>
public sealed class LayerNorm : Norm
{
    const string Scale = "weight", Shift = "bias";

    readonly long width;
    readonly double epsilon;

    /// <summary>Creates a norm over <paramref name="width"/> channels whose initial scales are 1.</summary>
    public LayerNorm(ModuleFactory factory, long width, double epsilon) : base(nameof(LayerNorm))
    {
        ArgumentNullException.ThrowIfNull(factory);
        Require.AtLeast(width, 1, nameof(width));
        Require.Positive(epsilon);
        (this.width, this.epsilon) = (width, epsilon);
        AddParameter(Scale, factory.Constant(1, width), decays: false);
        AddParameter(Shift, factory.Constant(0, width), decays: false);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x)
    {
        Require.Alive(x);
        var type = SequenceChecks.StateType(x);
        return nn.functional.layer_norm(x.to(type), [width], Parameter(Scale, x), Parameter(Shift, x), epsilon).to(x.dtype);
    }

    internal override (Tensor Output, Tensor Sum) ForwardSum(Tensor x, Tensor residual)
    {
        var sum = x.add(residual, Scalars.One);
        return (Forward(sum), sum);
    }
}
