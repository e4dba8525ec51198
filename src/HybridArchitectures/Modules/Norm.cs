using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Represents a norm over the last dimension.</summary>
public abstract class Norm : HybridModule
{
    private protected Norm(string kind) : base(kind) { }

    /// <summary>Creates the norm of a block or of a stack, of the kind that the design has.</summary>
    internal static Norm Create(ModuleFactory factory, double epsilon) => factory.Design.NormKind == NormKind.LayerNorm
        ? new LayerNorm(factory, factory.Width, epsilon) : new RootMeanSquareNorm(factory, factory.Width, epsilon);

    /// <summary>Gets the weight, (width) float32.</summary>
    public Parameter Weight => Parameter("weight");

    /// <summary>Computes the norm, with the shape (..., width) and type of <paramref name="x"/>.</summary>
    public abstract Tensor Forward(Tensor x);

    /// <summary>Returns the norm of x + residual, and that sum rounded to the type of x.</summary>
    internal abstract (Tensor Output, Tensor Sum) ForwardSum(Tensor x, Tensor residual);

    /// <summary>
    /// Offers to compute an output again in the backward pass for operators that read it, until the offer is disposed. Returns null if the norm does
    /// not, or no gradient is recorded.
    /// </summary>
    /// <param name="output">The output.</param>
    /// <param name="x">The input, or the sum.</param>
    internal virtual IDisposable? Offer(Tensor output, Tensor x) => null;

    /// <summary>Returns the norm of x as part of a product; null if no product computes it.</summary>
    internal virtual FewRowsFusion? Fusion(Tensor x) => null;
}
