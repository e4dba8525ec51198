using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>A linear layer over a few rows without gradient, as decoding has it: what counts is to read the weight once.</summary>
public static class FewRowsLinear
{
    /// <summary>Rows up to which the CPU back end is chosen; with more, a matrix product makes better use of what it has read.</summary>
    public const int MaxRows = 4;

    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves inputs like <paramref name="x"/> with weights like <paramref name="weight"/>: vectorised code for up to
    /// <see cref="MaxRows"/> rows of float32 or bfloat16 in main memory, else libtorch's product.</summary>
    public static KernelBackend BackendFor(Tensor x, Tensor weight)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        if (x.dim() == 0) throw new ArgumentException("x has no dimension; expected (..., inputs)", nameof(x));
        static bool Narrow(ScalarType type) => type is ScalarType.Float32 or ScalarType.BFloat16;
        bool fits = x.device_type == TorchSharp.DeviceType.CPU && Narrow(x.dtype) && Narrow(weight.dtype);
        return Backend switch
        {
            KernelBackend.Auto => fits && x.NumberOfElements <= MaxRows * x.size(-1) ? KernelBackend.Cpu : KernelBackend.LibTorch,
            KernelBackend.Cpu when !fits => throw new ArgumentException(
                $"FewRowsLinear.Backend is Cpu, but x is {x.dtype} on {x.device} and weight {weight.dtype}; the CPU back end takes Float32 and BFloat16 in main memory", nameof(x)),
            KernelBackend.Cpu or KernelBackend.LibTorch => Backend,
            KernelBackend.Reference => KernelBackend.LibTorch,
            _ => throw new ArgumentOutOfRangeException(nameof(Backend), Backend, $"FewRowsLinear.Backend is {Backend}; expected Auto, LibTorch or Cpu"),
        };
    }

    /// <summary>x weight^T + bias, without gradient.</summary>
    /// <param name="x">(..., inputs), floating point. Products are summed in float32 for bfloat16 input, rounded once at the end.</param>
    /// <param name="weight">(outputs, inputs), type of <paramref name="x"/> or float32: it is not copied for inputs of another type.</param>
    /// <param name="bias">(outputs), type of <paramref name="x"/> or float32; null for none.</param>
    /// <returns>(..., outputs), type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type or device is not as said above.</exception>
    public static Tensor Forward(Tensor x, Tensor weight, Tensor? bias = null)
    {
        Checks.Floating(x);
        if (x.dim() == 0 || x.size(-1) == 0) throw new ArgumentException($"x is {Checks.Describe(x)}; expected (..., inputs), at least one", nameof(x));
        ArgumentNullException.ThrowIfNull(weight);
        if (weight.dim() != 2 || weight.size(1) != x.size(-1)) throw new ArgumentException($"weight is {Checks.Describe(weight)}; expected (outputs, {x.size(-1)})", nameof(weight));
        Checks.ParameterType(weight, x, nameof(x));
        Checks.SameDevice(weight, x, nameof(x));
        if (bias is not null)
        {
            Checks.Shape(bias, [weight.size(0)], "(outputs)");
            Checks.ParameterType(bias, x, nameof(x));
            Checks.SameDevice(bias, x, nameof(x));
        }
        using var noGrad = no_grad();
        if (BackendFor(x, weight) == KernelBackend.Cpu) return FewRowsLinearCpu.Forward(x, weight, bias);
        using var scope = NewDisposeScope();
        return nn.functional.linear(x, weight.to(x.dtype), bias?.to(x.dtype)).MoveToOuterDisposeScope();
    }
}
