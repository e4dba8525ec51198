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

    /// <summary>Contains what backward needs from forward.</summary>
    /// <param name="Inputs">The inputs.</param>
    /// <param name="Statistics">The normalizers of tokens, shape (tokens, 4), float32.</param>
    /// <param name="Counted">The number of tokens that count, shape (1), float32.</param>
    /// <param name="Buffer">The buffer, which contains the logits of the last chunk.</param>
    /// <param name="Chunk">The number of classes of a chunk.</param>
    internal sealed record Saved(CrossEntropyInputs Inputs, Tensor Statistics, Tensor Counted, Tensor Buffer, long Chunk) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) =>
            new(Inputs.Map(replace), replace(Statistics)!, replace(Counted)!, replace(Buffer)!, Chunk);
    }

    internal struct Arguments
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

    /// <summary>Returns the mean loss.</summary>
    public static Tensor Apply(CrossEntropyInputs inputs) => Autograd.Apply<Saved>([inputs.Hidden, inputs.Weight, inputs.Bias], _ =>
    {
        var (losses, saved) = Forward(inputs);
        return ([losses.sum() / saved.Counted], saved);
    }, static (context, saved) =>
    {
        bool last = !LibTorch.CurrentBackwardKeepsGraph();
        // another pass may follow and must find the same values
        if (!last) saved = saved with { Buffer = empty_like(saved.Buffer) };
        return Backward(saved, context.Gradients[0]!, last, context.Needs);
    })[0];

    /// <summary>Returns the losses of tokens, shape (tokens), float32, and the saved tensors.</summary>
    public static (Tensor Losses, Saved Saved) Forward(CrossEntropyInputs inputs)
    {
        var (hidden, options) = (inputs.Hidden, inputs.Options);
        long tokens = inputs.Tokens, classes = inputs.Classes, piece = 16 / hidden.ElementSize,
            chunk = ChunkOf(tokens, classes, hidden.size(1), CudaRuntime.DeviceOf(hidden).Multiprocessors);
        var counted = inputs.Targets.ne(Scalars.From(options.IgnoreIndex)).sum().clamp_min(Scalars.One).to(ScalarType.Float32);
        var losses = CudaMemory.New(hidden, ScalarType.Float32, tokens);
        // rows begin at a multiple of 16 bytes for any number of classes
        var saved = new Saved(inputs, CudaMemory.New(hidden, ScalarType.Float32, tokens, 4), counted,
            CudaMemory.New(hidden, hidden.dtype, tokens, (chunk + piece - 1) / piece * piece), chunk);
        for (long first = 0; first < classes && tokens > 0; first += chunk)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, classes - first);
            var logits = Logits(hidden, inputs.Weight, saved.Buffer, first, count);
            Launch("statistics", logits, saved, first, losses, null);
        }
        return (losses, saved);
    }

    // The needed gradients of hidden, weight and bias, from the gradient of the mean loss. The buffer is overwritten; `last` says whether it still
    // contains the logits of the last chunk.
    static Tensor?[] Backward(Saved saved, Tensor incoming, bool last, Func<int, bool> needs)
    {
        var (hidden, weight, bias) = (saved.Inputs.Hidden, saved.Inputs.Weight, saved.Inputs.Bias);
        long tokens = saved.Inputs.Tokens, classes = saved.Inputs.Classes, chunk = saved.Chunk;
        var dWeight = needs(1) ? CudaMemory.New(weight, weight.dtype, classes, weight.size(1)) : null;
        var dBias = needs(2) ? CudaMemory.New(bias!, bias!.dtype, classes) : null;
        // summed over several chunks in float32
        var dHidden = !needs(0) ? null : chunk == classes ? CudaMemory.New(hidden, hidden.dtype, tokens, hidden.size(1))
            : zeros([tokens, hidden.size(1)], ScalarType.Float32, hidden.device);
        for (long first = (classes - 1) / chunk * chunk; first >= 0; first -= chunk, last = false)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, classes - first);
            var part = Part(weight, hidden, first, count);
            var logits = last ? saved.Buffer.narrow(1, 0, count) : Product(hidden, part.t(), saved.Buffer.narrow(1, 0, count));
            Launch("gradient", logits, saved, first, null, incoming);
            dBias?.narrow(0, first, count).copy_(logits.sum(dim: 0, type: ScalarType.Float32));
            if (dHidden is not null) AddToHidden(dHidden, logits, part, chunk == classes);
            if (dWeight is null) continue;
            var rows = dWeight.narrow(0, first, count);
            if (rows.dtype == hidden.dtype) Product(logits.t(), hidden, rows);
            else if (!CudaBlas.TryProduct(rows, logits, true, hidden, add: false)) rows.copy_(logits.t().mm(hidden));
        }
        return [dHidden?.to(hidden.dtype), dWeight, dBias];
    }

    static void AddToHidden(Tensor dHidden, Tensor dLogits, Tensor weight, bool onlyChunk)
    {
        if (onlyChunk) Product(dLogits, weight, dHidden);
        else if (dLogits.dtype == ScalarType.Float32) dHidden.addmm_(dLogits, weight, 1, 1);
        else if (!CudaBlas.TryProduct(dHidden, dLogits, false, weight, add: true)) dHidden.add_(dLogits.mm(weight), Scalars.One);
    }

    static Tensor Part(Tensor weight, Tensor hidden, long first, long count) => weight.narrow(0, first, count).to(hidden.dtype);

    static Tensor Logits(Tensor hidden, Tensor weight, Tensor buffer, long first, long count) =>
        Product(hidden, Part(weight, hidden, first, count).t(), buffer.narrow(1, 0, count));

    static Tensor Product(Tensor a, Tensor b, Tensor to)
    {
        TorchOperator.Call("aten::mm", "out", a, b, to);
        return to;
    }

    static void Launch(string kernel, Tensor logits, Saved saved, long first, Tensor? losses, Tensor? incoming)
    {
        var (inputs, options) = (saved.Inputs, saved.Inputs.Options);
        var (shift, wanted) = (CudaMemory.Float32(inputs.Bias?.narrow(0, first, logits.size(1))), inputs.Targets.contiguous());
        if (incoming is not null && incoming.dtype != ScalarType.BFloat16) incoming = incoming.to(ScalarType.Float32);
        var arguments = new Arguments
        {
            Logits = CudaMemory.Address(logits), Bias = CudaMemory.Address(shift), Targets = CudaMemory.Address(wanted),
                Statistics = CudaMemory.Address(saved.Statistics),
            Losses = CudaMemory.Address(losses), Counted = CudaMemory.Address(saved.Counted), Incoming = CudaMemory.Address(incoming),
            Rows = logits.size(0), Classes = logits.size(1),
            RowStride = saved.Buffer.size(1), FirstClass = first, AllClasses = inputs.Classes, Ignored = options.IgnoreIndex,
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
