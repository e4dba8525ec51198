using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Checks of the sizes, types and devices of states. Each refusal names the argument, its value and what was expected.</summary>
static class StateChecks
{
    /// <summary>Refuses types that activations do not have. TorchSharp hands numbers that name no type on to native code.</summary>
    public static void ComputeType(ScalarType compute)
    {
        if (compute is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float64))
            throw Require.Refusal(nameof(compute), compute, "Float32 or BFloat16, or Float64 to check against");
    }

    /// <summary>Refuses what no state can be made of.</summary>
    public static void State(long batch, ScalarType compute, Device device)
    {
        Require.AtLeast(batch, 1);
        ComputeType(compute);
        DeviceOf(device);
    }

    /// <summary>Returns a state in the type of its sums: in float32 if it is bfloat16, and otherwise itself.</summary>
    public static Tensor Wide(Tensor state) => state.dtype == ScalarType.BFloat16 ? state.to(ScalarType.Float32) : state;

    /// <summary>Refuses an absent device, and one of a type that libtorch does not know.</summary>
    public static void DeviceOf(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        Require.KnownDevice(device);
    }
}
