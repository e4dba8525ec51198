using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of a rotation, with the shapes of <see cref="Operators.Rotary.Forward"/>.</summary>
sealed record RotaryInputs(Tensor X, Tensor Cosine, Tensor Sine)
{
    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(X, "x");
        Checks.Shape(X, [-1, -1, -1, -1], "(batch, length, heads, head size)", "x");
        Checks.Type(Cosine, ScalarType.Float32, "cosine");
        Checks.Shape(Cosine, [-1, X.size(1), -1], "(1 or batch, length, rotated pairs)", "cosine");
        if (Cosine.size(0) != 1 && Cosine.size(0) != X.size(0))
            throw Require.Unfit("cosine", $"cosine has shape {Checks.Describe(Cosine)}", $"1 or {X.size(0)} rows, as many as x");
        if (Cosine.size(2) < 1 || Cosine.size(2) * 2 > X.size(3))
            throw Require.Unfit("cosine", $"cosine has {Cosine.size(2)} pairs", $"1 to {X.size(3) / 2}, half the head size of x");
        Checks.SameShape(Sine, Cosine, "cosine", "sine");
        Checks.Type(Sine, ScalarType.Float32, "sine");
        Checks.SameDevice(Cosine, X, "x", "cosine");
        Checks.SameDevice(Sine, X, "x", "sine");
    }
}
