using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes RMSNorm with a weight (arXiv 1910.07467): x / sqrt(mean(x^2) + epsilon) * weight over the last dimension.</summary>
public sealed class RootMeanSquareNorm : Norm
{
    readonly double epsilon;
    readonly bool zeroCentered;

    /// <summary>
    /// Creates a norm over <paramref name="width"/> channels whose initial scales are 1. <see cref="Design.HybridDesign.ZeroCenteredNorms"/>
    /// determines whether the weight stores the scale or (scale - 1).
    /// </summary>
    public RootMeanSquareNorm(ModuleFactory factory, long width, double epsilon) : base(nameof(RootMeanSquareNorm))
    {
        ArgumentNullException.ThrowIfNull(factory);
        Require.AtLeast(width, 1, nameof(width));
        Require.Positive(epsilon);
        this.epsilon = epsilon;
        zeroCentered = factory.Design.ZeroCenteredNorms;
        AddParameter("weight", factory.Constant(zeroCentered ? 0 : 1, width), decays: false);
    }

    Tensor Scale(Tensor x) => zeroCentered ? Derived("weight", x, weight => ones_like(weight).add(weight, Scalars.One)) : Weight;

    // one pass on a GPU and without a gradient
    internal override (Tensor Output, Tensor Sum) ForwardSum(Tensor x, Tensor residual) => RmsNorm.ForwardSum(x, residual, Scale(x), epsilon);

    // without a gradient, a zero-centered scale is not computed in vain
    internal override IDisposable? Offer(Tensor output, Tensor x) =>
        is_grad_enabled() && OperatorOptions.Current.RecomputeInputs ? RmsNorm.Offer(output, x, Scale(x), epsilon) : null;

    internal override FewRowsFusion? Fusion(Tensor x) => new(FewRowsNorm.Plain, Scale(x), epsilon);

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => RmsNorm.Forward(x, Scale(x), epsilon);
}
