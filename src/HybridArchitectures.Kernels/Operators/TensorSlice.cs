using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Represents a slice of the last dimension of a tensor, and the place of its gradient in that of the tensor.</summary>
/// <param name="Tensor">The slice, a view.</param>
/// <param name="Gradient">The place for operators that write gradients there. Null means none.</param>
readonly record struct TensorSlice(Tensor Tensor, GradientSlice? Gradient)
{
    public static implicit operator TensorSlice(Tensor tensor) => new(tensor, null);

    /// <summary>Divides a tensor. Without a place for gradients, libtorch joins those of the slices by a copy.</summary>
    /// <param name="x">The tensor, shape (..., channels), contiguous.</param>
    /// <param name="hasPlaces">Whether the operators that use the slices write gradients to places.</param>
    /// <param name="sizes">The sizes of the slices, whose sum is the number of channels.</param>
    public static TensorSlice[] Split(Tensor x, bool hasPlaces, params long[] sizes)
    {
        if (!hasPlaces || !is_grad_enabled() || !x.requires_grad || !x.is_contiguous())
            return Array.ConvertAll(x.split(sizes, -1), static slice => new TensorSlice(slice, null));
        var gradient = new SlicedGradient(x, sizes);
        var slices = Autograd.Apply([x], _ => x.detach().split(sizes, -1), context => [gradient.Join(context.Gradients)]);
        return [.. slices.Select((slice, index) => new TensorSlice(slice, new(gradient, index)))];
    }
}
