using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of SwiGLU, which are also saved for its gradient.</summary>
sealed record SwiGluInputs(Tensor Gate, Tensor Up) : ISavedTensors<SwiGluInputs>
{
    public SwiGluInputs Map(Func<Tensor?, Tensor?> replace) => new(replace(Gate)!, replace(Up)!);
}
