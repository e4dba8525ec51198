using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Creates integer tensors without scalars that the garbage collector could free while native code uses them.</summary>
public static class Indices
{
    /// <summary>Returns first, first + 1, ... as (count) int64.</summary>
    public static Tensor Range(long first, long count, Device device)
    {
        Require.AtLeast(count, 0);
        Require.KnownDevice(device);
        using Scalar start = first.ToScalar(), stop = (first + count).ToScalar();
        return arange(start, stop, ScalarType.Int64, device);
    }

    /// <summary>Returns the values as (values.Length) int64.</summary>
    public static Tensor From(IEnumerable<long> values, Device device)
    {
        ArgumentNullException.ThrowIfNull(values);
        Require.KnownDevice(device);
        return tensor(values.ToArray(), ScalarType.Int64, device: device);
    }
}
