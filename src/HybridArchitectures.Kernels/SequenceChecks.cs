using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Checks the arguments of operators along a sequence, and selects their back ends.</summary>
static class SequenceChecks
{
    /// <summary>Returns the dtype of sums and states.</summary>
    public static ScalarType StateType(Tensor x) => StateType(x.dtype);

    public static ScalarType StateType(ScalarType activations) => activations == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>Checks that activations are float32, bfloat16 or float64, with the given number of dimensions, none of them empty.</summary>
    public static void Activations(Tensor x, string name, string meaning, int dimensions)
    {
        Require.Alive(x, name);
        if (x.dtype is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float64))
            throw Require.Refusal(name, x.dtype, "Float32, BFloat16 or Float64");
        if (x.dim() != dimensions) throw Require.Unfit(name, $"{name} has shape {Checks.Describe(x)}", $"{meaning}");
        for (int i = 0; i < dimensions; i++)
            if (x.size(i) == 0)
                throw Require.Unfit(name, $"{name} has shape {Checks.Describe(x)}", $"{meaning} with every size at least 1");
    }

    /// <summary>Checks the shape and device of another input than x, and that its dtype is that of x, or float32 if x is bfloat16.</summary>
    public static void Input(Tensor tensor, string name, Tensor x, string meaning, params ReadOnlySpan<long> sizes)
    {
        Require.Alive(tensor, name);
        Shape(tensor, name, meaning, sizes);
        OnDevice(tensor, name, x);
        if (tensor.dtype == x.dtype || (tensor.dtype == ScalarType.Float32 && x.dtype == ScalarType.BFloat16)) return;
        throw Require.Refusal(name, tensor.dtype, $"{Types(x)}, as x is {x.dtype}");
    }

    static void Shape(Tensor tensor, string name, string meaning, ReadOnlySpan<long> sizes)
    {
        bool fits = tensor.dim() == sizes.Length;
        for (int i = 0; fits && i < sizes.Length; i++) fits = tensor.size(i) == sizes[i];
        if (!fits)
            throw Require.Unfit(name, $"{name} has shape {Checks.Describe(tensor)}", $"{meaning} = ({string.Join(", ", sizes.ToArray())})");
    }

    /// <summary>Checks the shape, device and dtype of a state.</summary>
    public static void State(Tensor? state, string name, Tensor x, string meaning, params ReadOnlySpan<long> sizes)
    {
        if (state is null) return;
        Input(state, name, x, meaning, sizes);
        if (state.dtype != StateType(x))
            throw Require.Refusal(name, state.dtype, $"{StateType(x)}, the type of states when x is {x.dtype}");
    }

    /// <summary>
    /// Checks the state of steps: its shape, its device, and that it can be updated in place. It can be bfloat16, unless x is float64.
    /// </summary>
    public static void StepState(Tensor state, string name, Tensor x, string meaning, params ReadOnlySpan<long> sizes)
    {
        Updatable(state, name);
        if (state.dtype == ScalarType.BFloat16 && StateType(x) == ScalarType.Float32)
        {
            Shape(state, name, meaning, sizes);
            OnDevice(state, name, x);
        }
        else State(state, name, x, meaning, sizes);
    }

    /// <summary>Checks that a state can be updated in place.</summary>
    public static void Updatable(Tensor state, string name)
    {
        Require.Alive(state, name);
        if (state.requires_grad) throw Require.Unfit(name, $"{name} requires a gradient", "none, because a step has none and changes it in place");
        if (!state.is_contiguous()) throw Require.Unfit(name, $"{name} is not contiguous", "a contiguous tensor, because a step changes it in place");
    }

    public static void OnDevice(Tensor tensor, string name, Tensor x)
    {
        if (tensor.device_type != x.device_type || tensor.device_index != x.device_index)
            throw Require.Unfit(name, $"{name} is on {tensor.device}", $"{x.device}, where x is");
    }

    /// <summary>Returns the number of groups of a (B, L, N) or (B, L, G, N) tensor that <paramref name="shared"/> channels or heads share.</summary>
    public static long Groups(long groups, long shared, string name, string what)
    {
        if (groups < 1 || shared % groups != 0)
            throw Require.Unfit(name, $"{name} has {groups} groups", $"a divisor of the {shared} {what}");
        return groups;
    }

    public static void Layout(SequenceLayout? layout, Tensor x)
    {
        if (layout is null) return;
        if (layout.Batch != x.size(0) || layout.Length != x.size(1))
            throw Require.Unfit(nameof(layout), $"layout is for {layout.Batch} rows of {layout.Length} tokens",
                $"{x.size(0)} rows of {x.size(1)}, as x is {Checks.Describe(x)}");
        if (layout.Valid is { } valid) OnDevice(valid, nameof(layout), x);
        if (layout.Starts is { } starts) OnDevice(starts, nameof(layout), x);
    }

    /// <summary>Returns the back end for these activations, given the selected one.</summary>
    public static KernelBackend Choose(KernelBackend asked, Tensor x, string op, [CallerArgumentExpression(nameof(x))] string name = "x")
    {
        Require.Alive(x, name);
        bool narrow = x.dtype is ScalarType.Float32 or ScalarType.BFloat16;
        bool cpu = narrow && x.device_type == TorchSharp.DeviceType.CPU;
        bool cuda = narrow && (x.device_type == TorchSharp.DeviceType.CUDA || CudaRuntime.Emulated);
        var chosen = asked switch
        {
            KernelBackend.Auto => cpu ? KernelBackend.Cpu : cuda ? KernelBackend.Cuda : KernelBackend.Reference,
            KernelBackend.Cpu when !cpu =>
            throw Require.Unfit(name, $"the back end of {op} is Cpu",
            $"another, because {name} is {x.dtype} on {x.device} and Cpu supports Float32 and BFloat16 in main memory"),
            KernelBackend.Cuda when !cuda =>
            throw Require.Unfit(name, $"the back end of {op} is Cuda",
            $"another, because {name} is {x.dtype} on {x.device} and Cuda supports Float32 and BFloat16 on a CUDA device"),
            KernelBackend.Cpu or KernelBackend.Cuda or KernelBackend.Reference => asked,
            _ => throw Require.OutOfRange($"the back end of {op}", asked, "Auto, Reference, Cpu or Cuda", "backend"),
        };
        KernelEvents.Log.Chosen(op, () => chosen.ToString(), x);
        return chosen;
    }

    /// <summary>
    /// Returns the back end of an operator without kernels: libtorch's operators on any device, or the reference if it is selected.
    /// </summary>
    public static KernelBackend ChooseComposed(
        KernelBackend asked, Tensor x, string op, [CallerArgumentExpression(nameof(x))] string name = "x")
    {
        Require.Alive(x, name);
        return asked switch
        {
            KernelBackend.Auto or KernelBackend.LibTorch => KernelBackend.LibTorch,
            KernelBackend.Reference => KernelBackend.Reference,
            _ => throw Require.Unfit(name, $"the back end of {op} is {asked}", "Auto, LibTorch or Reference"),
        };
    }

    static string Types(Tensor x) => x.dtype == ScalarType.BFloat16 ? "BFloat16 or Float32" : $"{x.dtype}";
}
