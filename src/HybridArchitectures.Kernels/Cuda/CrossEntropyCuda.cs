using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// Linear cross entropy on a card: a chunk's logits in the type of the activations, from the matrix product straight into one buffer that all chunks share; in their place
/// the gradient with respect to them by <c>CrossEntropy.cu</c>; its two products, the weight's added up in float32 by the product itself.
/// </summary>
static class CrossEntropyCuda
{
    const string Source = "CrossEntropy.cu";
    const int Threads = 1024, ScaleThreads = 256, ScaleVectors = 4;                  // as in the kernels

    // A tenth of the tokens' logits or less, where a chunk of that size keeps the matrix units busy; more than the most gains nothing.
    const long Share = 11, MostTokens = 2048;

    /// <summary>Fewer tokens at a time would read the weight more often than it computes with it.</summary>
    internal static long LeastTokens { get; set; } = 256;

    struct Arguments
    {
        public nint Logits, Bias, Targets, Losses, Counted;
        public long Rows, Classes, RowStride, Ignored;
        public float Scale, Smoothing, ZLoss;
    }

    struct ScaleArguments
    {
        public nint Data, Factor;
        public long Count, FactorIsBFloat16;
    }

    /// <summary>Tokens worked on at a time.</summary>
    internal static long ChunkOf(long tokens) => Math.Min(tokens, Math.Clamp(tokens / Share / 8 * 8, LeastTokens, MostTokens));

    public static (Tensor Loss, Tensor?[] Gradients) Run(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, CrossEntropyOptions options, bool[] wanted)
    {
        long tokens = hidden.size(0);
        var counted = targets.ne(Scalars.Of(options.IgnoreIndex)).sum().clamp_min(Scalars.One).to(ScalarType.Float32);
        var losses = CudaMemory.New(hidden, ScalarType.Float32, tokens);
        var dHidden = wanted[0] ? CudaMemory.New(hidden, hidden.dtype, tokens, hidden.size(1)) : null;
        var dWeight = wanted[1] ? zeros([weight.size(0), weight.size(1)], ScalarType.Float32, hidden.device) : null;
        var dBias = wanted[2] ? zeros([weight.size(0)], ScalarType.Float32, hidden.device) : null;
        Chunks(hidden, weight, bias, targets, options, losses, wanted.Any(want => want) ? counted : null, (part, head, dLogits, start, count) =>
        {
            dBias?.add_(dLogits.sum(dim: 0, type: ScalarType.Float32), Scalars.One);
            if (dHidden is not null) TorchOperator.Call("aten::mm", "out", dLogits, head, dHidden.narrow(0, start, count));
            if (dWeight is not null) AddProduct(dWeight, dLogits, part);
        });
        return (losses.sum() / counted, [dHidden, dWeight?.to(weight.dtype), dBias?.to(bias!.dtype)]);
    }

    public static Tensor TokenLosses(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, CrossEntropyOptions options)
    {
        var losses = CudaMemory.New(hidden, ScalarType.Float32, hidden.size(0));
        Chunks(hidden, weight, bias, targets, options, losses, null, static (_, _, _, _, _) => { });
        return losses;
    }

    /// <summary>Multiplies in place by a number on the card; where it is 1, which is usual, the tensor is not even read.</summary>
    public static void Scale(Tensor tensor, Tensor factor)
    {
        using var scope = NewDisposeScope();
        if (factor.dtype != ScalarType.BFloat16) factor = factor.to(ScalarType.Float32);
        var arguments = new ScaleArguments
        {
            Data = CudaMemory.Address(tensor), Factor = CudaMemory.Address(factor), Count = tensor.NumberOfElements, FactorIsBFloat16 = factor.dtype == ScalarType.BFloat16 ? 1 : 0,
        };
        bool narrow = tensor.dtype == ScalarType.BFloat16;
        long perBlock = ScaleThreads * ScaleVectors * (narrow ? 8 : 4);
        CudaRuntime.DeviceOf(tensor).Launch(Source, narrow ? "scale_bfloat16" : "scale_float32", ((tensor.NumberOfElements + perBlock - 1) / perBlock, 1, 1), ScaleThreads, 0, arguments);
        GC.KeepAlive((tensor, factor));
    }

    static void Chunks(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, CrossEntropyOptions options, Tensor losses, Tensor? counted,
        Action<Tensor, Tensor, Tensor, long, long> then)
    {
        long tokens = hidden.size(0), classes = weight.size(0), chunk = ChunkOf(tokens), piece = 16 / hidden.ElementSize;
        if (tokens == 0) return;
        var (head, shift, wanted) = (weight.to(hidden.dtype), CudaMemory.Float32(bias), targets.contiguous());
        var device = CudaRuntime.DeviceOf(hidden);
        // rows begin at 16 bytes, whatever the number of classes
        var buffer = CudaMemory.New(hidden, hidden.dtype, chunk, (classes + piece - 1) / piece * piece);
        for (long start = 0; start < tokens; start += chunk)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, tokens - start);
            var (part, logits) = (hidden.narrow(0, start, count), buffer.narrow(0, 0, count).narrow(1, 0, classes));
            TorchOperator.Call("aten::mm", "out", part, head.t(), logits);
            var arguments = new Arguments
            {
                Logits = CudaMemory.Address(logits), Bias = CudaMemory.Address(shift), Targets = CudaMemory.Address(wanted) + (nint)(start * sizeof(long)),
                Losses = CudaMemory.Address(losses) + (nint)(start * sizeof(float)), Counted = CudaMemory.Address(counted), Rows = count, Classes = classes, RowStride = buffer.size(1),
                Ignored = options.IgnoreIndex, Scale = (float)options.LogitScale, Smoothing = (float)options.LabelSmoothing, ZLoss = (float)options.ZLoss,
            };
            device.Launch(Source, $"cross_entropy_{(shift is null ? "" : "bias_")}{(hidden.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32")}", (count, 1, 1), Threads,
                3 * 32 * sizeof(float), arguments);
            if (counted is not null) then(part, head, logits, start, count);
        }
        GC.KeepAlive((shift, wanted, losses, counted));
    }

    // sum += a^T b, sum in float32
    static void AddProduct(Tensor sum, Tensor a, Tensor b)
    {
        if (a.dtype == ScalarType.Float32) sum.addmm_(a.t(), b, 1, 1);
        else if (!CudaBlas.TryAddProduct(sum, a, b)) sum.add_(a.t().mm(b), Scalars.One);
    }
}
