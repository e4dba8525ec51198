using HybridArchitectures.Kernels;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>y = x W^T + b. The weight is kept in float32 and cast to the type of x, so that activations decide the arithmetic.</summary>
public sealed class Linear : HybridModule
{
    readonly bool biased;

    /// <summary>A projection.</summary>
    /// <param name="weight">(outputs, inputs)</param>
    /// <param name="bias">(outputs), or null.</param>
    public Linear(Parameter weight, Parameter? bias = null) : base(nameof(Linear))
    {
        Checks.Shape(weight, [-1, -1], "(outputs, inputs)");
        if (bias is not null) Checks.Shape(bias, [weight.size(0)], "(outputs)");
        AddParameter("weight", weight, decays: true);
        if (bias is not null) AddParameter("bias", bias, decays: false);
        biased = bias is not null;
    }

    /// <summary>(outputs, inputs), float32.</summary>
    public Parameter Weight => Parameter("weight");

    /// <summary>(outputs), float32, or null.</summary>
    public Parameter? Bias => biased ? Parameter("bias") : null;

    /// <inheritdoc/>
    protected internal override IReadOnlyList<string> ProjectionWeights => ["weight"];

    /// <summary>(..., inputs) to (..., outputs), in the type of <paramref name="x"/>.</summary>
    public Tensor Forward(Tensor x)
    {
        var (weight, bias) = (Weight, Bias);
        Checks.Floating(x);
        if (x.dim() == 0 || x.size(-1) != weight.size(1))
            throw new ArgumentException($"x has shape {Checks.Describe(x)}; expected a last dimension of {weight.size(1)}, the inputs of the weight", nameof(x));
        Checks.SameDevice(x, weight, "the weight");
        if (IsStep(x)) return Adapted("weight", x, FewRowsLinear.Forward(x, weight, bias));
        if (weight.dtype == x.dtype) return Adapted("weight", x, nn.functional.linear(x, weight, bias));
        using var castWeight = weight.to(x.dtype);
        using var castBias = bias?.to(x.dtype);
        return Adapted("weight", x, nn.functional.linear(x, castWeight, castBias));
    }

    /// <summary>Whether x is so few rows, and no gradient wanted, that reading the weight is all that counts.</summary>
    internal static bool IsStep(Tensor x) =>
        x.device_type == TorchSharp.DeviceType.CPU && x.NumberOfElements <= FewRowsLinear.MaxRows * x.size(-1) && x.dtype is ScalarType.Float32 or ScalarType.BFloat16 && !is_grad_enabled();
}
