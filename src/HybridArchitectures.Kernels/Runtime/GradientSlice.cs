using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents the place of the gradient of one slice of a tensor. It contains no tensor of the graph.</summary>
/// <param name="Whole">The gradient of the tensor.</param>
/// <param name="Index">The number of the slice.</param>
sealed record GradientSlice(SlicedGradient Whole, int Index)
{
    /// <summary>Returns memory for the gradient of an input with undefined contents; null if it needs separate memory.</summary>
    /// <param name="input">The slice, or a view of it in the same order of elements.</param>
    /// <param name="allocate">Allocates the whole gradient on the device of a tensor.</param>
    public Tensor? Take(Tensor input, Func<Tensor, ScalarType, long[], Tensor> allocate) => Whole.Take(Index, input, allocate);
}
