using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>RMSNorm with a weight (arXiv 1910.07467): x / sqrt(mean(x^2) + epsilon) * weight over the last dimension.</summary>
public sealed class RootMeanSquareNorm : HybridModule
{
    readonly double epsilon;
    readonly bool zeroCentered;

    /// <summary>A norm over <paramref name="width"/> channels that multiplies by 1; see <see cref="Design.HybridDesign.ZeroCenteredNorms"/> for what its weight is.</summary>
    public RootMeanSquareNorm(ModuleFactory factory, long width, double epsilon) : base(nameof(RootMeanSquareNorm))
    {
        ArgumentNullException.ThrowIfNull(factory);
        ModuleChecks.Size(width, nameof(width));
        Checks.Positive(epsilon);
        this.epsilon = epsilon;
        zeroCentered = factory.Design.ZeroCenteredNorms;
        AddParameter("weight", factory.Constant(zeroCentered ? 0 : 1, width), decays: false);
    }

    /// <summary>(width), float32: the factors, or what they differ from 1 by.</summary>
    public Parameter Weight => Parameter("weight");

    Tensor Scale(Tensor x) => zeroCentered ? Derived("weight", x, weight => ones_like(weight).add(weight, Scalars.One)) : Weight;

    /// <summary>The norm of x + residual, and that sum as rounded to the type of x: one pass on a GPU. Without gradient.</summary>
    internal (Tensor Output, Tensor Sum) ForwardSum(Tensor x, Tensor residual) => RmsNorm.ForwardSum(x, residual, Scale(x), epsilon);

    /// <summary>(..., width) to the same shape and type.</summary>
    public Tensor Forward(Tensor x) => RmsNorm.Forward(x, Scale(x), epsilon);
}
