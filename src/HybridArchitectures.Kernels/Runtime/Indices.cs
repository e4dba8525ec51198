using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Integer tensors, without scalars that the garbage collector could free under native code.</summary>
public static class Indices
{
    /// <summary>first, first + 1, ... : (count) int64.</summary>
    public static Tensor Range(long first, long count, Device device)
    {
        using Scalar start = first.ToScalar(), stop = (first + count).ToScalar();
        return arange(start, stop, ScalarType.Int64, device);
    }

    /// <summary>(values.Length) int64.</summary>
    public static Tensor From(IEnumerable<long> values, Device device) => tensor(values.ToArray(), ScalarType.Int64, device: device);
}
