using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of an RMS norm, plain or gated.</summary>
/// <param name="X">The input, shape (..., width).</param>
/// <param name="Gate">The gate, with the shape of <paramref name="X"/>. Null means none.</param>
/// <param name="Weight">The weight, shape (width). Null means none.</param>
/// <param name="Epsilon">The number added to the mean square.</param>
/// <param name="Groups">The number of equal groups of channels that are normalized separately.</param>
/// <param name="NormFirst">Whether the gate multiplies the normalized value instead of the input of the norm.</param>
sealed record NormInputs(Tensor X, Tensor? Gate, Tensor? Weight, double Epsilon, int Groups, bool NormFirst) : ISavedTensors<NormInputs>
{
    /// <summary>Gets the place of the gradient of x if it is a slice and there is no gate; null for separate memory.</summary>
    public GradientSlice? XGradient { get; init; }

    /// <summary>Gets the place of the gradient of the gate if it is a slice; null for separate memory.</summary>
    public GradientSlice? GateGradient { get; init; }

    public NormInputs Map(Func<Tensor?, Tensor?> replace) => this with { X = replace(X)!, Gate = replace(Gate), Weight = replace(Weight) };

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(X, "x");
        Checks.Groups(X, Groups, "x");
        Require.Positive(Epsilon, "epsilon");
        if (Gate is not null) CheckLikeX(Gate, "gate");
        if (Weight is null) return;
        Checks.Shape(Weight, [X.size(-1)], "one number per channel of x", "weight");
        Checks.ParameterType(Weight, X, "x", "weight");
        Checks.SameDevice(Weight, X, "x", "weight");
    }

    /// <summary>Checks the shape, dtype and device of a tensor that is combined with x, element by element.</summary>
    public void CheckLikeX(Tensor tensor, string name)
    {
        Checks.SameShape(tensor, X, "x", name);
        Checks.Type(tensor, X.dtype, name);
        Checks.SameDevice(tensor, X, "x", name);
    }
}
