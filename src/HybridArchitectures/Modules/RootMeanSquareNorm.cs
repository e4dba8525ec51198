using HybridArchitectures.Kernels;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>RMSNorm with a weight (arXiv 1910.07467): x / sqrt(mean(x^2) + epsilon) * weight over the last dimension.</summary>
public sealed class RootMeanSquareNorm : HybridModule
{
    readonly double epsilon;

    /// <summary>A norm over <paramref name="width"/> channels, its weight 1.</summary>
    public RootMeanSquareNorm(ModuleFactory factory, long width, double epsilon) : base(nameof(RootMeanSquareNorm))
    {
        this.epsilon = epsilon;
        AddParameter("weight", factory.Constant(1, width), decays: false);
    }

    /// <summary>(width), float32.</summary>
    public Parameter Weight => Parameter("weight");

    /// <summary>(..., width) to the same shape and type.</summary>
    public Tensor Forward(Tensor x) => RmsNorm.Forward(x, Weight, epsilon);
}
