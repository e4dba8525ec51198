using System.Runtime.InteropServices;
using HybridArchitectures.Kernels;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Runs custom mixers and throws a clear exception if they break a rule that errors of libtorch explain badly.</summary>
static class CustomMixing
{
    // libtorch has no error code for this
    const string TwoDevices = "on the same device";

    /// <summary>Runs <see cref="Mixer.Forward"/>.</summary>
    /// <exception cref="InvalidOperationException">
    /// The mixer used tensors on several devices, or returned another shape or device than that of <paramref name="x"/>.
    /// </exception>
    public static Tensor Forward(Mixer mixer, Tensor x, SequenceContext context, MixerState? state)
    {
        string call = $"{mixer.GetType().Name}.{nameof(Mixer.Forward)}";
        Tensor? result;
        try
        {
            result = mixer.Forward(x, context, state);
        }
        catch (ExternalException error) when (error.Message.Contains(TwoDevices, StringComparison.Ordinal))
        {
            string firstLine = error.Message.Trim().Split('\n')[0].TrimEnd();
            throw new InvalidOperationException(
                $"{call} uses tensors of several devices; expected all on {x.device}, the device of x. Pass x.device to calls such as zeros. "
                + $"({firstLine})", error);
        }
        if (result is null) throw new InvalidOperationException($"{call} returned null; expected a tensor of shape {Checks.Describe(x)}");
        if (!result.shape.AsSpan().SequenceEqual(x.shape))
            throw new InvalidOperationException(
                $"{call} returned a tensor of shape {Checks.Describe(result)}; expected {Checks.Describe(x)}, the shape of x");
        RequireDevice(call, "a tensor that", result, x.device);
        return result;
    }

    /// <summary>Throws an exception for a missing state, and for a state with a tensor on another device.</summary>
    /// <param name="mixer">The mixer of the state.</param>
    /// <param name="method">The method that created or changed the state.</param>
    /// <param name="state">The state.</param>
    /// <param name="device">The required device of its tensors.</param>
    /// <returns>The state.</returns>
    public static MixerState RequireDevice(Mixer mixer, string method, MixerState? state, Device device)
    {
        string call = $"{mixer.GetType().Name}.{method}";
        if (state is null) throw new InvalidOperationException($"{call} returned null; expected a state");
        var tensors = state.Tensors;
        for (int i = 0; i < tensors.Count; i++) RequireDevice(call, $"a state whose tensor {i}", tensors[i], device);
        return state;
    }

    static void RequireDevice(string call, string what, Tensor tensor, Device device)
    {
        // a device without an index means the current one
        var own = tensor.device;
        if (own.type == device.type && (own.index == device.index || own.index < 0 || device.index < 0)) return;
        throw new InvalidOperationException($"{call} returned {what} is on {own}; expected {device}. Pass the device to calls such as zeros.");
    }
}
