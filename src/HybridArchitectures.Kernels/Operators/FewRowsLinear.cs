using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Computes a linear layer over a few rows without a gradient, as in decoding, where the time is that of reading the weight once.</summary>
public static class FewRowsLinear
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.FewRowsLinearBackend);

    /// <summary>The maximum number of rows for which the CPU back end is selected. With more rows, a matrix product is faster.</summary>
    public const int MaxRows = 4;

    /// <summary>
    /// The maximum number of rows for which the CUDA back end is selected, for bfloat16 rows and weights. The result of a row does not depend on the
    /// other rows.
    /// </summary>
    internal const int MaxCudaRows = FewRowsLinearCuda.MaxRows;

    /// <summary>
    /// Returns the back end for inputs like <paramref name="x"/> with weights like <paramref name="weight"/>: vectorised code for up to
    /// <see cref="MaxRows"/> rows of float32 or bfloat16 on the CPU, a kernel for up to 16 rows of bfloat16 on CUDA, and otherwise the product of
    /// libtorch.
    /// </summary>
    public static KernelBackend BackendFor(Tensor x, Tensor weight)
    {
        Require.Alive(x);
        Require.Alive(weight);
        if (x.dim() == 0) throw Require.Unfit(nameof(x), "x has no dimension", "(..., inputs)");
        static bool Narrow(ScalarType type) => type is ScalarType.Float32 or ScalarType.BFloat16;
        bool fits = x.device_type == TorchSharp.DeviceType.CPU && Narrow(x.dtype) && Narrow(weight.dtype);
        bool onCuda = x.NumberOfElements <= MaxCudaRows * x.size(-1) && FewRowsLinearCuda.Takes(x, weight, Backend == KernelBackend.Cuda)
            && FewRowsLinearCuda.ShapeFor(x, x.NumberOfElements / x.size(-1), false, false, default) is not null;
        return Backend switch
        {
            KernelBackend.Auto when onCuda => KernelBackend.Cuda,
            KernelBackend.Cuda when !onCuda => throw Require.Unfit(nameof(x),
                $"the back end of FewRowsLinear is Cuda, but x is {x.dtype} {Checks.Describe(x)} on {x.device} and weight {weight.dtype}",
                $"at most {MaxCudaRows} rows of BFloat16 on a CUDA device, with inputs a multiple of 8"),
            KernelBackend.Auto => fits && x.NumberOfElements <= MaxRows * x.size(-1) ? KernelBackend.Cpu : KernelBackend.LibTorch,
            KernelBackend.Cpu when !fits => throw Require.Unfit(nameof(x),
                $"the back end of FewRowsLinear is Cpu, but x is {x.dtype} on {x.device} and weight {weight.dtype}",
                "Float32 or BFloat16 in main memory"),
            KernelBackend.Cpu or KernelBackend.LibTorch or KernelBackend.Cuda => Backend,
            KernelBackend.Reference => KernelBackend.LibTorch,
            _ => throw Require.OutOfRange("the back end of FewRowsLinear", Backend, "Auto, LibTorch, Cpu or Cuda", "backend"),
        };
    }

    /// <summary>Computes x weight^T + bias without a gradient.</summary>
    /// <param name="x">(..., inputs), floating point. With bfloat16 input, products are summed in float32 and rounded once.</param>
    /// <param name="weight">
    /// (outputs, inputs), in the type of <paramref name="x"/>, float32 or bfloat16. The CPU back end reads it in its type.
    /// </param>
    /// <param name="bias">(outputs), in the type of <paramref name="x"/>, float32 or bfloat16. The default, null, means none.</param>
    /// <returns>(..., outputs), in the type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type or device is invalid.</exception>
    public static Tensor Forward(Tensor x, Tensor weight, Tensor? bias = null)
    {
        var inputs = new FewRowsLinearInputs(x, weight, bias);
        inputs.Check();
        using var noGrad = no_grad();
        switch (BackendFor(x, weight))
        {
            case KernelBackend.Cpu: return FewRowsLinearCpu.Forward(inputs);
            case KernelBackend.Cuda when x.NumberOfElements > 0: return OnCuda(x, [(weight, bias)])[0];
        }
        using var scope = NewDisposeScope();
        return nn.functional.linear(x, weight.to(x.dtype), bias?.to(x.dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Computes several projections of one x, in one launch on CUDA, together on the CPU, and otherwise one after another. The arguments are those
    /// of <see cref="Forward"/>.
    /// </summary>
    internal static Tensor[] ForwardMany(Tensor x, params ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections)
    {
        bool onCuda = x.NumberOfElements > 0 && projections.Length <= FewRowsLinearCuda.MaxWeights, onCpu = true;
        foreach (var (weight, _) in projections)
        {
            var backend = BackendFor(x, weight);
            (onCuda, onCpu) = (onCuda && backend == KernelBackend.Cuda, onCpu && backend == KernelBackend.Cpu);
        }
        using var noGrad = no_grad();
        if (onCuda) return OnCuda(x, projections);
        if (onCpu && projections.Length > 1) return OnCpu(x, projections);
        var results = new Tensor[projections.Length];
        for (int i = 0; i < results.Length; i++) results[i] = Forward(x, projections[i].Weight, projections[i].Bias);
        return results;
    }

    /// <summary>Computes silu(x G^T + g) * (x U^T + u), in one launch on CUDA. Each product is rounded as it would be separately.</summary>
    internal static Tensor ForwardGated(Tensor x, (Tensor Weight, Tensor? Bias) gate, (Tensor Weight, Tensor? Bias) up)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (x.NumberOfElements > 0 && BackendFor(x, gate.Weight) == KernelBackend.Cuda && BackendFor(x, up.Weight) == KernelBackend.Cuda
            && FewRowsLinearCuda.ShapeFor(x, x.NumberOfElements / x.size(-1), true, false, default) is not null)
            return OnCuda(x, [gate, up], gated: true)[0].MoveToOuterDisposeScope();
        var both = ForwardMany(x, gate, up);
        return SwiGlu.Forward(both[0], both[1]).MoveToOuterDisposeScope();
    }

    /// <summary>Returns whether x (..., inputs) has so few rows that <see cref="ForwardFused"/> can serve them.</summary>
    internal static bool Fuses(Tensor x) => FusesOnCpu(x) || FusesOnCuda(x);

    // with bfloat16 activations, separate operators round their results
    static bool FusesOnCpu(Tensor x) =>
        Backend is KernelBackend.Auto or KernelBackend.Cpu && x.dtype == ScalarType.Float32 && x.device_type == TorchSharp.DeviceType.CPU
        && x.NumberOfElements > 0 && x.NumberOfElements <= MaxRows * x.size(-1);

    static bool FusesOnCuda(Tensor x) =>
        Backend is KernelBackend.Auto or KernelBackend.Cuda && x.dtype == ScalarType.BFloat16 && x.NumberOfElements > 0
        && x.NumberOfElements <= MaxCudaRows * x.size(-1) && (x.device_type == TorchSharp.DeviceType.CUDA || CudaRuntime.Emulated);

    /// <summary>
    /// Computes projections of x as <see cref="ForwardMany"/>, or silu(gate) * up of two, and the operations of <paramref name="fusion"/>: in one
    /// launch on CUDA, in one pass over the weights on the CPU. Returns null, without an effect, if that is not possible. The results of a row do not
    /// depend on the other rows.
    /// </summary>
    internal static Tensor[]? ForwardFused(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections, bool gated, in FewRowsFusion fusion)
    {
        if (FusesOnCpu(x)) return FusedOnCpu(x, projections, gated, fusion);
        if (!FusesOnCuda(x) || projections.Length > FewRowsLinearCuda.MaxWeights) return null;
        foreach (var (weight, _) in projections)
            if (BackendFor(x, weight) != KernelBackend.Cuda) return null;
        if (fusion.Scale is { dtype: not ScalarType.Float32 } || fusion.Residual is { dtype: not ScalarType.BFloat16 }) return null;
        if (fusion.Cache is { IsServed: false } || fusion.Convolution is { IsServed: false }) return null;
        if (FewRowsLinearCuda.ShapeFor(x, x.NumberOfElements / x.size(-1), gated, false, fusion) is null) return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        static Tensor? Rows(Tensor? tensor) => tensor?.reshape(-1, tensor.size(-1));
        var rows = fusion with { Gate = Rows(fusion.Gate), Residual = Rows(fusion.Residual) };
        return Shaped(FewRowsLinearCuda.Forward(Rows(x)!, projections, gated, fusion: rows), x);
    }

    static Tensor[]? FusedOnCpu(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections, bool gated, in FewRowsFusion fusion)
    {
        if (fusion is { IsWide: true } or { Cache: not null }) return null;
        // one token of each sequence
        if (fusion.Convolution is { } step && (!step.IsServedOnCpu || step.State.size(0) * x.size(-1) != x.NumberOfElements)) return null;
        if (fusion.Scale is { dtype: not ScalarType.Float32 } || fusion.Residual is { dtype: not ScalarType.Float32 }) return null;
        foreach (var (weight, bias) in projections)
        {
            new FewRowsLinearInputs(x, weight, bias).Check();
            if (BackendFor(x, weight) != KernelBackend.Cpu) return null;
        }
        using var noGrad = no_grad();
        return FewRowsLinearCpu.ForwardFused(x, projections, gated, fusion);
    }

    static Tensor[] OnCpu(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections)
    {
        var inputs = new FewRowsLinearInputs[projections.Length];
        for (int i = 0; i < inputs.Length; i++)
        {
            inputs[i] = new(x, projections[i].Weight, projections[i].Bias);
            inputs[i].Check();
        }
        return FewRowsLinearCpu.ForwardMany(inputs);
    }

    static Tensor[] OnCuda(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections, bool gated = false)
    {
        using var scope = NewDisposeScope();
        return Shaped(FewRowsLinearCuda.Forward(x.reshape(-1, x.size(-1)), projections, gated), x);
    }

    // results (rows, outputs) as (..., outputs), in the outer scope
    static Tensor[] Shaped(Tensor[] results, Tensor x)
    {
        var sizes = x.shape;
        for (int i = 0; i < results.Length; i++)
        {
            sizes[^1] = results[i].size(1);
            results[i] = (x.dim() == 2 ? results[i] : results[i].view(sizes)).MoveToOuterDisposeScope();
        }
        return results;
    }
}
