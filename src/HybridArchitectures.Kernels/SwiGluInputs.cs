using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of SwiGLU, which are also saved for its gradient.</summary>
sealed record SwiGluInputs(Tensor Gate, Tensor Up) : ISavedTensors<SwiGluInputs>
{
    public SwiGluInputs Map(Func<Tensor?, Tensor?> replace) => new(replace(Gate)!, replace(Up)!);

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(Gate, "gate");
        Checks.SameShape(Up, Gate, "gate", "up");
        Checks.Type(Up, Gate.dtype, "up");
        Checks.SameDevice(Up, Gate, "gate", "up");
    }
}
