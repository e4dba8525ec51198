using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Checks of modules' arguments. Each refusal names the argument, its value and what was expected.</summary>
static class ModuleChecks
{
    /// <summary>Refuses an absent factory or spec, and a spec that does not suit the width of the input.</summary>
    public static void Spec(ModuleFactory factory, MixerSpec spec, int? inputWidth = null)
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(spec);
        spec.Check(inputWidth ?? factory.Width);
    }

    /// <inheritdoc cref="Spec(ModuleFactory, MixerSpec, int?)"/>
    public static void Spec(ModuleFactory factory, FeedForwardSpec spec)
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(spec);
        spec.Check(factory.Width);
    }

    /// <summary>Refuses activations that are not (batch, length, width), and begins the context's pass where nothing has begun it.</summary>
    public static void Input(Tensor x, int width, SequenceContext context)
    {
        Checks.Shape(x, [-1, -1, width], "(batch, length, width)");
        Checks.Floating(x);
        ArgumentNullException.ThrowIfNull(context);
        context.BeginFor(x);
    }

    /// <summary>Refuses types that activations do not have. TorchSharp hands numbers that name no type on to native code.</summary>
    public static void ComputeType(ScalarType compute)
    {
        if (compute is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float64))
            throw new ArgumentException($"compute is {compute}; expected Float32 or BFloat16, or Float64 to check against", nameof(compute));
    }

    /// <summary>Refuses types that weights are not held in.</summary>
    public static void WeightType(ScalarType weightType)
    {
        if (weightType is not (ScalarType.Float32 or ScalarType.BFloat16))
            throw new ArgumentException($"weightType is {weightType}; expected Float32 or BFloat16", nameof(weightType));
    }

    /// <summary>Refuses what no state can be made of.</summary>
    public static void State(long batch, ScalarType compute, Device device)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batch, 1);
        ComputeType(compute);
        DeviceOf(device);
    }

    /// <summary>Refuses an absent device, and one of a type that libtorch does not know.</summary>
    public static void DeviceOf(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (!Enum.IsDefined(device.type)) throw new ArgumentException($"device is of type {device.type}; expected one of {string.Join(", ", Enum.GetNames<DeviceType>())}", nameof(device));
    }

    /// <summary>Refuses a size below 1.</summary>
    public static void Size(long value, string name)
    {
        if (value < 1) throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; expected at least 1");
    }
}
