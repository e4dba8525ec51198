using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes products of a few rows of bfloat16 on a GPU with the kernel in <c>FewRowsLinear.cu</c>.</summary>
static class FewRowsLinearCuda
{
    /// <summary>Specifies the maximum number of rows of the kernel.</summary>
    public const int MaxRows = 16;

    /// <summary>Specifies the maximum number of weights of one launch.</summary>
    public const int MaxWeights = 3;

    /// <summary>
    /// Returns whether the kernel supports rows like <paramref name="x"/> (..., inputs) with weights like <paramref name="weight"/> (..., outputs,
    /// inputs).
    /// </summary>
    public static bool Takes(Tensor x, Tensor weight, bool explicitly) =>
        x.dtype == ScalarType.BFloat16 && weight.dtype == ScalarType.BFloat16 && x.size(-1) % 8 == 0 && x.size(-1) > 0
        && (x.device_type == DeviceType.CUDA || (explicitly && CudaRuntime.Emulated)) && weight.is_contiguous()
        && CudaMemory.Address(weight) % 16 == 0;

    /// <summary>
    /// Returns the shape of the kernel for <paramref name="rows"/> rows of x (..., inputs); null if they do not fit in shared memory.
    /// </summary>
    public static FewRowsShape? ShapeFor(Tensor x, long rows, bool gated, bool indexed, in FewRowsFusion fusion) =>
        FewRowsShape.For(rows, x.size(-1), gated, indexed, fusion, CudaRuntime.DeviceOf(x).SharedMemory);

    /// <summary>Computes x W^T + b for each weight in one launch.</summary>
    /// <param name="x">(rows, inputs), at most <see cref="MaxRows"/>, or with <paramref name="index"/> any number.</param>
    /// <param name="weights">(outputs, inputs), or (groups, outputs, inputs) with <paramref name="index"/>; biases of float32 or bfloat16.</param>
    /// <param name="gated">Whether the two weights are gate and up of silu(gate) * up, which is then the only result.</param>
    /// <param name="index">(rows) int64, the group of each row; null for weights without groups.</param>
    /// <param name="rowsPerInput">The number of results per row of x, as with the experts of one token.</param>
    /// <param name="fusion">The operations that are fused with the product.</param>
    /// <returns>(rows, outputs) for each result, in the current dispose scope.</returns>
    public static Tensor[] Forward(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> weights, bool gated = false, Tensor? index = null,
        int rowsPerInput = 1, in FewRowsFusion fusion = default)
    {
        using var scope = NewDisposeScope();
        (x, index) = (Aligned(x)!, index?.contiguous());
        Tensor? gate = Aligned(fusion.Gate), residual = Dense(fusion.Residual), scale = fusion.Scale?.contiguous();
        long rows = x.size(0) * rowsPerInput;
        var shape = ShapeFor(x, rows, gated, index is not null, fusion)
            ?? throw Require.Unfit(nameof(x), $"x has {rows} rows of {x.size(1)}", "rows that fit in shared memory");
        var arguments = new FewRowsArguments
        {
            X = CudaMemory.Address(x), Index = CudaMemory.Address(index), Rows = rows, Inputs = x.size(1), XRow = x.stride(0),
            RowsPerInput = rowsPerInput, Groups = index is null ? 1 : weights[0].Weight.size(0), Residual = CudaMemory.Address(residual),
            ResidualRow = residual?.stride(0) ?? 0, Scale = CudaMemory.Address(scale), Gate = CudaMemory.Address(gate),
            GateRow = gate?.stride(0) ?? 0, Epsilon = (float)fusion.Epsilon,
            Cache = fusion.Cache is { } cache ? FewRowsArguments.CacheArguments.From(cache, rows) : default,
            Convolution = fusion.Convolution is { } step ? FewRowsArguments.ConvolutionArguments.From(step) : default,
        };
        var kept = new List<Tensor?>();
        var results = new List<Tensor>();
        for (int i = 0; i < weights.Length; i++)
        {
            var bias = Readable(weights[i].Bias);
            kept.Add(bias);
            (arguments.Weight[i], arguments.Bias[i]) = (CudaMemory.Address(weights[i].Weight), CudaTyped.From(bias));
            arguments.Outputs[i] = weights[i].Weight.size(-2);
            if (gated && i > 0) continue;
            arguments.Tiles[i] = (arguments.Outputs[i] + FewRowsShape.Outputs - 1) / FewRowsShape.Outputs;
            arguments.OutputRow[i] = arguments.Outputs[i];
            if (fusion.Cache is null || i == 0) results.Add(NewResult(ref arguments, x, i, fusion.IsWide).MoveToOuterDisposeScope());
        }
        long tiles = (arguments.Tiles[0] + arguments.Tiles[1] + arguments.Tiles[2]) * (index is null ? 1 : rows);
        var device = CudaRuntime.DeviceOf(x);
        (shape, long blocks) = shape.For(tiles, rows, x.size(1), device.SharedMemory, device.Multiprocessors);
        device.Launch(shape.Variant, FewRowsShape.Kernel, (blocks, 1, 1), FewRowsShape.Threads, (int)shape.SharedBytes(rows, x.size(1)), arguments);
        GC.KeepAlive((x, index, gate, residual, scale, kept, (results, fusion.Cache, fusion.Convolution)));
        foreach (var (weight, _) in weights) GC.KeepAlive(weight);
        return [.. results];
    }

    static Tensor NewResult(ref FewRowsArguments arguments, Tensor x, int weight, bool wide)
    {
        var result = CudaMemory.New(x, wide ? ScalarType.Float32 : ScalarType.BFloat16, arguments.Rows, arguments.Outputs[weight]);
        if (wide) arguments.Wide = CudaMemory.Address(result);
        else arguments.Output[weight] = CudaMemory.Address(result);
        return result;
    }

    // rows without gaps between their elements
    static Tensor? Dense(Tensor? x) => x is null || x.size(1) == 1 || x.stride(1) == 1 ? x : x.contiguous();

    // rows from addresses that 16 divides
    static Tensor? Aligned(Tensor? x)
    {
        if (x is null) return null;
        if (x.stride(1) != 1 || (x.size(0) > 1 && x.stride(0) % 8 != 0)) x = x.contiguous();
        return CudaMemory.Address(x) % 16 == 0 ? x : x.clone();
    }

    // a bias as the kernel reads it
    static Tensor? Readable(Tensor? bias)
    {
        bias = bias?.contiguous();
        return bias is null || bias.dtype is ScalarType.Float32 or ScalarType.BFloat16 ? bias : bias.to(ScalarType.Float32);
    }
}
