using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of a linear layer over a few rows, with the shapes of <see cref="Operators.FewRowsLinear.Forward"/>.</summary>
sealed record FewRowsLinearInputs(Tensor X, Tensor Weight, Tensor? Bias)
{
    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(X, "x");
        if (X.dim() == 0 || X.size(-1) == 0) throw Require.Refusal("x", X.shape, "(..., inputs), at least one");
        Require.Alive(Weight, "weight");
        if (Weight.dim() != 2 || Weight.size(1) != X.size(-1)) throw Require.Refusal("weight", Weight.shape, $"(outputs, {X.size(-1)})");
        CheckParameter(Weight, "weight");
        if (Bias is null) return;
        Checks.Shape(Bias, [Weight.size(0)], "(outputs)", "bias");
        CheckParameter(Bias, "bias");
    }

    void CheckParameter(Tensor parameter, string name)
    {
        if (parameter.dtype != X.dtype && parameter.dtype is not (ScalarType.Float32 or ScalarType.BFloat16))
            throw Require.Refusal(name, parameter.dtype, $"Float32, BFloat16 or {X.dtype}, the type of x");
        Checks.SameDevice(parameter, X, "x", name);
    }
}
