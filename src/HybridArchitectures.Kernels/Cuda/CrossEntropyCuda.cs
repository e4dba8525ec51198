using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// Computes linear cross entropy on a GPU, for all tokens and a chunk of classes at a time. The matrix product writes the logits of a chunk to a
/// buffer in the type of the activations, from which <c>CrossEntropy.cu</c> collects statistics per token. Backward computes the logits again and
/// replaces them with their gradient. The rows of the weight gradient of a chunk are then one product over all tokens, summed by the tensor cores and
/// rounded once: no other tensor as large as the weight is stored.
/// </summary>
static class CrossEntropyCuda
{
    const string Source = "CrossEntropy.cu";
    const int Threads = 256;                                                         // as in the kernels

    // the tiles of the products in cuBLAS
    const long TileRows = 128, TileColumns = 256;

    /// <summary>
    /// Contains what backward needs from forward: the normalisers of tokens (T, 4), the number of tokens that count (1), the classes of a chunk, and
    /// the buffer, which contains the logits of the last chunk.
    /// </summary>
    public readonly record struct Kept(Tensor Statistics, Tensor Counted, long Chunk, Tensor Buffer);

    struct Arguments
    {
        public nint Logits, Bias, Targets, Statistics, Losses, Counted, Incoming;
        public long Rows, Classes, RowStride, FirstClass, AllClasses, Ignored, IncomingIsBFloat16;
        public float Scale, Smoothing, ZLoss;
    }

    /// <summary>
    /// Returns the number of classes of a chunk, selected so that the tiles of the weight gradient (classes, width) leave few multiprocessors idle at
    /// the end of a chunk.
    /// </summary>
    internal static long ChunkOf(long tokens, long classes, long width, int multiprocessors)
    {
        var options = OperatorOptions.Current;
        long most = Math.Max((long)(classes * options.LogitsShare), options.Thresholds.MinLogits / Math.Max(1, tokens));
        if (most >= classes) return classes;
        if (most < TileRows) return Math.Max(1, most);
        long Rounds(long rows) => ((rows + TileRows - 1) / TileRows * ((width + TileColumns - 1) / TileColumns) + multiprocessors
            - 1) / multiprocessors;
        // a chunk adds to the gradient of hidden, whose sums go to memory and back: about a fifth of a round
        long Cost(long chunk) => 5 * (classes / chunk * Rounds(chunk) + Rounds(classes % chunk)) + classes / chunk;
        most = most / TileRows * TileRows;
        long best = most;
        for (long chunk = most; chunk >= Math.Max(TileRows, most / 2); chunk -= TileRows)
            if (Cost(chunk) < Cost(best)) best = chunk;
        return best;
    }

    /// <summary>Returns the losses of tokens (T) float32.</summary>
    public static (Tensor Losses, Kept Kept) Forward(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, CrossEntropyOptions options)
    {
        long tokens = hidden.size(0), classes = weight.size(0),
            chunk = ChunkOf(tokens, classes, hidden.size(1), CudaRuntime.DeviceOf(hidden).Multiprocessors), piece = 16 / hidden.ElementSize;
        var counted = targets.ne(Scalars.From(options.IgnoreIndex)).sum().clamp_min(Scalars.One).to(ScalarType.Float32);
        var losses = CudaMemory.New(hidden, ScalarType.Float32, tokens);
        // rows begin at a multiple of 16 bytes for any number of classes
        var kept = new Kept(CudaMemory.New(hidden, ScalarType.Float32, tokens, 4), counted, chunk,
            CudaMemory.New(hidden, hidden.dtype, tokens, (chunk + piece - 1) / piece * piece));
        for (long first = 0; first < classes && tokens > 0; first += chunk)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, classes - first);
            var logits = Logits(hidden, weight, kept.Buffer, first, count);
            Launch("statistics", logits, bias, targets, options, classes, first, kept, losses, null);
        }
        return (losses, kept);
    }

    /// <summary>
    /// Returns the needed gradients of hidden, weight and bias, from the gradient of the mean loss. The buffer is overwritten.
    /// <paramref name="last"/> says whether it still contains the logits of the last chunk.
    /// </summary>
    public static Tensor?[] Backward(
        Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, CrossEntropyOptions options, Kept kept, Tensor incoming, bool last,
        Func<int, bool> wanted)
    {
        long tokens = hidden.size(0), classes = weight.size(0), chunk = kept.Chunk;
        bool single = chunk == classes, wide = hidden.dtype == ScalarType.Float32;
        var dWeight = wanted(1) ? CudaMemory.New(weight, weight.dtype, classes, weight.size(1)) : null;
        var dBias = wanted(2) ? CudaMemory.New(bias!, bias!.dtype, classes) : null;
        // summed over several chunks in float32
        var dHidden = !wanted(0) ? null : single ? CudaMemory.New(hidden, hidden.dtype, tokens, hidden.size(1))
            : zeros([tokens, hidden.size(1)], ScalarType.Float32, hidden.device);
        for (long first = (classes - 1) / chunk * chunk; first >= 0; first -= chunk, last = false)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, classes - first);
            var part = Part(weight, hidden, first, count);
            var logits = last ? kept.Buffer.narrow(1, 0, count) : Product(hidden, part.t(), kept.Buffer.narrow(1, 0, count));
            Launch("gradient", logits, bias, targets, options, classes, first, kept, null, incoming);
            dBias?.narrow(0, first, count).copy_(logits.sum(dim: 0, type: ScalarType.Float32));
            if (dHidden is not null)
            {
                if (single) Product(logits, part, dHidden);
                else if (wide) dHidden.addmm_(logits, part, 1, 1);
                else if (!CudaBlas.TryProduct(dHidden, logits, false, part, add: true)) dHidden.add_(logits.mm(part), Scalars.One);
            }
            if (dWeight is null) continue;
            var rows = dWeight.narrow(0, first, count);
            if (rows.dtype == hidden.dtype) Product(logits.t(), hidden, rows);
            else if (!CudaBlas.TryProduct(rows, logits, true, hidden, add: false)) rows.copy_(logits.t().mm(hidden));
        }
        return [dHidden?.to(hidden.dtype), dWeight, dBias];
    }

    static Tensor Part(Tensor weight, Tensor hidden, long first, long count) => weight.narrow(0, first, count).to(hidden.dtype);

    static Tensor Logits(Tensor hidden, Tensor weight, Tensor buffer, long first, long count) =>
        Product(hidden, Part(weight, hidden, first, count).t(), buffer.narrow(1, 0, count));

    static Tensor Product(Tensor a, Tensor b, Tensor to)
    {
        TorchOperator.Call("aten::mm", "out", a, b, to);
        return to;
    }

    static void Launch(string kernel, Tensor logits, Tensor? bias, Tensor targets, CrossEntropyOptions options, long classes, long first, Kept kept,
        Tensor? losses, Tensor? incoming)
    {
        var (shift, wanted) = (CudaMemory.Float32(bias?.narrow(0, first, logits.size(1))), targets.contiguous());
        if (incoming is not null && incoming.dtype != ScalarType.BFloat16) incoming = incoming.to(ScalarType.Float32);
        var arguments = new Arguments
        {
            Logits = CudaMemory.Address(logits), Bias = CudaMemory.Address(shift), Targets = CudaMemory.Address(wanted),
                Statistics = CudaMemory.Address(kept.Statistics),
            Losses = CudaMemory.Address(losses), Counted = CudaMemory.Address(kept.Counted), Incoming = CudaMemory.Address(incoming),
            Rows = logits.size(0), Classes = logits.size(1),
            RowStride = kept.Buffer.size(1), FirstClass = first, AllClasses = classes, Ignored = options.IgnoreIndex,
            IncomingIsBFloat16 = incoming?.dtype == ScalarType.BFloat16 ? 1 : 0,
            Scale = (float)options.LogitScale, Smoothing = (float)options.LabelSmoothing, ZLoss = (float)options.ZLoss,
        };
        string type = logits.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32";
        CudaRuntime.DeviceOf(logits).Launch(
            Source, $"cross_entropy_{kernel}_{(shift is null ? "" : "bias_")}{type}", (logits.size(0), 1, 1), Threads, 3 * 32 * sizeof(float),
            arguments);
        GC.KeepAlive((shift, wanted, incoming, losses));
    }
}
