using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes products of a few rows of bfloat16 on a GPU with the kernels in <c>FewRowsLinear.cu</c>.</summary>
static class FewRowsLinearCuda
{
    /// <summary>The maximum number of rows of the kernels.</summary>
    public const int MaxRows = 16;

    /// <summary>The maximum number of weights of one launch.</summary>
    public const int MaxWeights = 3;

    const int OutputsPerBlock = 16, RowsPerTile = 8;

    // from this number of inputs, more warps share them; it depends only on the inputs, so that a product has the same sum on every GPU and next to
    // any others
    const long ManyInputs = 4096;

    [InlineArray(MaxWeights)]
    struct Addresses
    {
        nint first;
    }

    [InlineArray(MaxWeights)]
    struct Biases
    {
        CudaTyped first;
    }

    [InlineArray(MaxWeights)]
    struct Numbers
    {
        long first;
    }

    struct Arguments
    {
        public nint X;
        public Addresses Weight;
        public Biases Bias;
        public Addresses Output;
        public nint Index;
        public Numbers Outputs, OutputRow, Blocks;
        public long Rows, Inputs, XRow, RowsPerInput, Groups;
    }

    /// <summary>
    /// Returns whether the kernels support rows like <paramref name="x"/> (..., inputs) with weights like <paramref name="weight"/> (..., outputs,
    /// inputs).
    /// </summary>
    public static bool Takes(Tensor x, Tensor weight, bool explicitly) =>
        x.dtype == ScalarType.BFloat16 && weight.dtype == ScalarType.BFloat16 && x.size(-1) % 8 == 0 && x.size(-1) > 0
        && (x.device_type == DeviceType.CUDA || (explicitly && CudaRuntime.Emulated)) && weight.is_contiguous()
            && CudaMemory.Address(weight) % 16 == 0;

    /// <summary>Computes x W^T + b for each weight in one launch.</summary>
    /// <param name="x">(rows, inputs), at most <see cref="MaxRows"/>, or with <paramref name="index"/> any number.</param>
    /// <param name="weights">(outputs, inputs), or (groups, outputs, inputs) with <paramref name="index"/>; biases of float32 or bfloat16.</param>
    /// <param name="gated">Whether the two weights are gate and up of silu(gate) * up, which is then the only result.</param>
    /// <param name="index">(rows) int64, the group of each row; null for weights without groups.</param>
    /// <param name="rowsPerInput">The number of results per row of x, as with the experts of one token.</param>
    /// <returns>(rows, outputs) for each result, in the current dispose scope.</returns>
    public static Tensor[] Forward(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> weights, bool gated = false, Tensor? index = null,
        int rowsPerInput = 1)
    {
        using var scope = NewDisposeScope();
        if (x.stride(1) != 1 || (x.size(0) > 1 && x.stride(0) % 8 != 0) || CudaMemory.Address(x) % 16 != 0) x = x.contiguous();
        if (CudaMemory.Address(x) % 16 != 0) x = x.clone();
        index = index?.contiguous();
        long rows = x.size(0) * rowsPerInput, inputs = x.size(1), all = 0;
        var arguments = new Arguments
        {
            X = CudaMemory.Address(x), Index = CudaMemory.Address(index), Rows = rows, Inputs = inputs, XRow = x.stride(0), RowsPerInput =
                rowsPerInput,
            Groups = index is null ? 1 : weights[0].Weight.size(0),
        };
        var kept = new List<Tensor?>();
        var results = new List<Tensor>();
        for (int i = 0; i < weights.Length; i++)
        {
            var bias = weights[i].Bias?.contiguous();
            if (bias is not null && bias.dtype is not (ScalarType.Float32 or ScalarType.BFloat16)) bias = bias.to(ScalarType.Float32);
            kept.Add(bias);
            long outputs = weights[i].Weight.size(-2);
            (arguments.Weight[i], arguments.Bias[i], arguments.Outputs[i]) = (CudaMemory.Address(weights[i].Weight), CudaTyped.From(bias), outputs);
            arguments.Blocks[i] = (outputs + OutputsPerBlock - 1) / OutputsPerBlock;
            if (gated && i > 0) continue;
            var result = CudaMemory.New(x, ScalarType.BFloat16, rows, outputs);
            (arguments.Output[i], arguments.OutputRow[i]) = (CudaMemory.Address(result), outputs);
            results.Add(result.MoveToOuterDisposeScope());
            all += arguments.Blocks[i];
        }
        int tiles = index is not null || rows <= RowsPerTile ? 1 : 2, warps = inputs >= ManyInputs ? 16 : 8;
        string name = $"few_rows_{(gated ? "gated_" : "")}{tiles}_{warps}";
        CudaRuntime.DeviceOf(x).Launch("FewRowsLinear.cu", name, (all, index is null ? 1 : rows, 1), warps * 32, (gated ? 2
            : 1) * tiles * warps * OutputsPerBlock * RowsPerTile * sizeof(float), arguments);
        GC.KeepAlive((x, index, kept, results));
        foreach (var (weight, _) in weights) GC.KeepAlive(weight);
        return [.. results];
    }
}
