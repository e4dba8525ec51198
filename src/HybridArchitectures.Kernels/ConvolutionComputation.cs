using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains all inputs of a causal convolution without an initial state, including the tensors of the layout.</summary>
sealed record ConvolutionComputation(CausalConvolutionInputs Inputs, SequenceLayout? Layout, Tensor?[] LayoutTensors)
    : ISavedTensors<ConvolutionComputation>
{
    public ConvolutionComputation Map(Func<Tensor?, Tensor?> replace) =>
        new(Inputs.Map(replace), Layout, Array.ConvertAll(LayoutTensors, tensor => replace(tensor)));
}
