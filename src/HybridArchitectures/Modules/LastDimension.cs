using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Divides tensors along their last dimension. All parts are views. Their gradients are joined to that of the tensor in one pass, while the gradient
/// of each <c>narrow</c> is a tensor as large as the whole.
/// </summary>
static class LastDimension
{
    /// <summary>Returns two parts. The sum of their sizes is the size of the last dimension.</summary>
    public static (Tensor First, Tensor Second) Split(Tensor x, long first, long second)
    {
        var parts = x.split([first, second], -1);
        return (parts[0], parts[1]);
    }

    /// <summary>Returns three parts. The sum of their sizes is the size of the last dimension.</summary>
    public static (Tensor First, Tensor Second, Tensor Third) Split(Tensor x, long first, long second, long third)
    {
        var parts = x.split([first, second, third], -1);
        return (parts[0], parts[1], parts[2]);
    }
}
