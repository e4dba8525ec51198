using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// Computes linear cross entropy on a GPU. The matrix product writes a chunk of logits to a buffer in the type of the activations, from which
/// <c>CrossEntropy.cu</c> collects statistics per token.
/// <para>
/// Without gradients, a chunk contains some classes of all tokens. With gradients, it contains all classes of some tokens: the logits are then
/// complete, and their gradient replaces them in the forward pass, for an incoming gradient of 1. So three products suffice, and no logits are saved.
/// The gradient of the weight is summed over the chunks in float32 by the products themselves.
/// </para>
/// </summary>
static class CrossEntropyCuda
{
    const string Source = "CrossEntropy.cu";
    const int Threads = 256;                                                         // as in the kernels

    // the tiles of the products in cuBLAS
    const long TileRows = 128, TileColumns = 256;

    /// <summary>Represents what a launch needs to know of a chunk of logits.</summary>
    /// <param name="Logits">The logits, shape (rows, classes) with rows at multiples of 16 bytes.</param>
    /// <param name="Bias">The bias of the classes, or null.</param>
    /// <param name="Targets">The targets of the rows, contiguous.</param>
    /// <param name="Statistics">The normalizers of the rows, shape (rows, 4), float32.</param>
    /// <param name="Losses">The losses of the rows, float32.</param>
    /// <param name="FirstClass">The number of the first class.</param>
    /// <param name="AllClasses">The number of classes of all chunks.</param>
    readonly record struct Chunk(Tensor Logits, Tensor? Bias, Tensor Targets, Tensor Statistics, Tensor Losses, long FirstClass, long AllClasses);

    // computed in the forward pass, for an incoming gradient of 1
    sealed record Saved(Tensor? Hidden, Tensor? Weight, Tensor? Bias) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(replace(Hidden), replace(Weight), replace(Bias));
    }

    internal struct Arguments
    {
        public nint Logits, Bias, Targets, Statistics, Losses, Counted, Incoming;
        public long Rows, Classes, RowStride, FirstClass, AllClasses, Ignored, IncomingIsBFloat16;
        public float Scale, Smoothing, ZLoss;
    }

    /// <summary>
    /// Returns the number of classes of a chunk without gradients, selected so that the tiles of a product (classes, width) leave few multiprocessors
    /// idle at the end of a chunk.
    /// </summary>
    internal static long ChunkOf(long tokens, long classes, long width, int multiprocessors)
    {
        var options = OperatorOptions.Current;
        long maxClasses = Math.Max((long)(classes * options.LogitsShare), options.Thresholds.MinLogits / Math.Max(1, tokens));
        if (maxClasses >= classes) return classes;
        if (maxClasses < TileRows) return Math.Max(1, maxClasses);
        long Rounds(long rows) => ((rows + TileRows - 1) / TileRows * ((width + TileColumns - 1) / TileColumns) + multiprocessors
            - 1) / multiprocessors;
        // the start of another chunk takes about a fifth of a round
        long Cost(long chunk) => 5 * (classes / chunk * Rounds(chunk) + Rounds(classes % chunk)) + classes / chunk;
        maxClasses = maxClasses / TileRows * TileRows;
        long best = maxClasses;
        for (long chunk = maxClasses; chunk >= Math.Max(TileRows, maxClasses / 2); chunk -= TileRows)
            if (Cost(chunk) < Cost(best)) best = chunk;
        return best;
    }

    /// <summary>Returns the number of tokens of a chunk with gradients: of chunks of nearly the same size, in whole tiles.</summary>
    internal static long TokensOf(long tokens, long classes)
    {
        var options = OperatorOptions.Current;
        long maxTokens = Math.Max(Math.Max(1, (long)(tokens * options.LogitsShare)), options.Thresholds.MinLogits / Math.Max(1, classes));
        if (maxTokens >= tokens) return tokens;
        long chunks = (tokens + maxTokens - 1) / maxTokens, size = (tokens + chunks - 1) / chunks;
        return size < TileRows ? size : Math.Min(tokens, (size + TileRows - 1) / TileRows * TileRows);
    }

    /// <summary>Returns the mean loss.</summary>
    public static Tensor Apply(CrossEntropyInputs inputs)
    {
        bool grad = is_grad_enabled();
        bool[] needs = [grad && inputs.Hidden.requires_grad, grad && inputs.Weight.requires_grad, grad && inputs.Bias is { requires_grad: true }];
        var place = OperatorOptions.Current.Gradients?.For(inputs.Weight);
        // views: a leaf would copy a gradient that was saved, but nothing else uses the memory of these
        return Autograd.Apply<Saved>([inputs.Hidden, inputs.Weight.alias(), inputs.Bias?.alias()], context =>
        {
            var counted = Counted(inputs);
            if (!context.NeedsGradient) return ([Losses(inputs).sum() / counted], new Saved(null, null, null));
            var (losses, saved) = Differentiate(inputs, counted, needs);
            return ([losses.sum() / counted], saved);
        }, (context, saved) => place is null ? Scaled(saved, context.Gradients[0]!) : place.OfferAt(1, Scaled(saved, context.Gradients[0]!)))[0];
    }

    static Tensor Counted(CrossEntropyInputs inputs) =>
        inputs.Targets.ne(Scalars.From(inputs.Options.IgnoreIndex)).sum().clamp_min(Scalars.One).to(ScalarType.Float32);

    /// <summary>Returns the losses of tokens, shape (tokens), float32, without gradients.</summary>
    public static Tensor Losses(CrossEntropyInputs inputs)
    {
        var hidden = inputs.Hidden;
        long tokens = inputs.Tokens, classes = inputs.Classes,
            chunk = ChunkOf(tokens, classes, hidden.size(1), CudaRuntime.DeviceOf(hidden).Multiprocessors);
        var losses = CudaMemory.New(hidden, ScalarType.Float32, tokens);
        var (statistics, buffer) = (CudaMemory.New(hidden, ScalarType.Float32, tokens, 4), Buffer(hidden, tokens, chunk));
        var targets = inputs.Targets.contiguous();
        for (long first = 0; first < classes && tokens > 0; first += chunk)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, classes - first);
            var logits = Product(hidden, inputs.Weight.narrow(0, first, count).to(hidden.dtype).t(), buffer.narrow(1, 0, count));
            Launch("statistics", new(logits, inputs.Bias?.narrow(0, first, count), targets, statistics, losses, first, classes), inputs.Options);
        }
        return losses;
    }

    // the losses of tokens, and the needed gradients of the mean loss
    static (Tensor Losses, Saved Saved) Differentiate(CrossEntropyInputs inputs, Tensor counted, bool[] needs)
    {
        var (hidden, weight, bias) = (inputs.Hidden, inputs.Weight, inputs.Bias);
        long tokens = inputs.Tokens, classes = inputs.Classes, width = hidden.size(1), chunk = TokensOf(tokens, classes);
        var losses = CudaMemory.New(hidden, ScalarType.Float32, tokens);
        var (targets, head) = (inputs.Targets.contiguous(), Cast(weight, hidden.dtype));
        var dHidden = needs[0] ? CudaMemory.New(hidden, hidden.dtype, tokens, width) : null;
        // summed over several chunks in float32
        var dWeight = !needs[1] ? null : tokens == 0 ? zeros([classes, width], weight.dtype, weight.device)
            : CudaMemory.New(weight, chunk < tokens ? ScalarType.Float32 : weight.dtype, classes, width);
        var dBias = needs[2] ? zeros([classes], ScalarType.Float32, hidden.device) : null;
        var (statistics, buffer) = (CudaMemory.New(hidden, ScalarType.Float32, Math.Min(chunk, tokens), 4),
            Buffer(hidden, Math.Min(chunk, tokens), classes));
        for (long first = 0; first < tokens; first += chunk)
        {
            using var scope = NewDisposeScope();
            long count = Math.Min(chunk, tokens - first);
            var part = hidden.narrow(0, first, count);
            var logits = Product(part, head.t(), buffer.narrow(0, 0, count).narrow(1, 0, classes));
            var rows = new Chunk(logits, bias, targets.narrow(0, first, count), statistics, losses.narrow(0, first, count), 0, classes);
            Launch("statistics", rows, inputs.Options);
            Launch("gradient", rows, inputs.Options, counted);
            dBias?.add_(logits.sum(dim: 0, type: ScalarType.Float32), Scalars.One);
            if (dHidden is not null) Product(logits, head, dHidden.narrow(0, first, count));
            if (dWeight is not null) SetOrAdd(dWeight, logits, part, add: first > 0);
        }
        return (losses, new Saved(dHidden, dWeight?.to(weight.dtype), dBias?.to(bias!.dtype)));
    }

    static Tensor Cast(Tensor weight, ScalarType type) =>
        (weight.dtype == ScalarType.Float32 && type == ScalarType.BFloat16 ? WeightCopies.Find(weight) : null) ?? weight.to(type);

    // a row begins at a multiple of 16 bytes for any number of classes
    static Tensor Buffer(Tensor hidden, long rows, long classes)
    {
        long piece = 16 / hidden.ElementSize;
        return CudaMemory.New(hidden, hidden.dtype, rows, (classes + piece - 1) / piece * piece);
    }

    // sum = dLogits^T hidden, or added to it
    static void SetOrAdd(Tensor sum, Tensor dLogits, Tensor hidden, bool add)
    {
        if (sum.dtype != hidden.dtype && CudaBlas.TryProduct(sum, dLogits, true, hidden, add)) return;
        if (sum.dtype == hidden.dtype && !add) Product(dLogits.t(), hidden, sum);
        else if (sum.dtype == hidden.dtype) sum.addmm_(dLogits.t(), hidden, 1, 1);
        else if (add) sum.add_(dLogits.t().mm(hidden), Scalars.One);
        else sum.copy_(dLogits.t().mm(hidden));
    }

    static Tensor Product(Tensor a, Tensor b, Tensor to)
    {
        TorchOperator.Call("aten::mm", "out", a, b, to);
        return to;
    }

    // in place, unless another pass may follow and must find the same values
    static Tensor?[] Scaled(Saved saved, Tensor incoming)
    {
        Tensor?[] gradients = [saved.Hidden, saved.Weight, saved.Bias];
        if (LibTorch.CurrentBackwardKeepsGraph())
            return Array.ConvertAll(gradients, gradient => gradient is null ? null : gradient * incoming.to(gradient.dtype));
        foreach (var gradient in gradients)
            if (gradient is not null && gradient.NumberOfElements > 0) ScaleInPlace(gradient, incoming);
        return gradients;
    }

    static void ScaleInPlace(Tensor gradient, Tensor incoming)
    {
        var (factor, isBFloat16) = Incoming(incoming);
        var arguments = new Arguments
        {
            Logits = CudaMemory.Address(gradient), Classes = gradient.NumberOfElements, Incoming = CudaMemory.Address(factor),
            IncomingIsBFloat16 = isBFloat16 ? 1 : 0,
        };
        const long perBlock = 16 * 1024;
        CudaRuntime.DeviceOf(gradient).Launch(Source, $"cross_entropy_scale_{Element(gradient)}",
            ((arguments.Classes + perBlock - 1) / perBlock, 1, 1), Threads, 0, arguments);
        GC.KeepAlive((gradient, factor));
    }

    static (Tensor Factor, bool IsBFloat16) Incoming(Tensor incoming) => incoming.dtype == ScalarType.BFloat16 ? (incoming, true)
        : (incoming.to(ScalarType.Float32), false);

    static string Element(Tensor tensor) => tensor.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32";

    // counted: the number of tokens that count, for gradients
    static void Launch(string kernel, Chunk chunk, CrossEntropyOptions options, Tensor? counted = null)
    {
        var (logits, shift) = (chunk.Logits, CudaMemory.Float32(chunk.Bias));
        var arguments = new Arguments
        {
            Logits = CudaMemory.Address(logits), Bias = CudaMemory.Address(shift), Targets = CudaMemory.Address(chunk.Targets),
            Statistics = CudaMemory.Address(chunk.Statistics), Losses = CudaMemory.Address(chunk.Losses), Counted = CudaMemory.Address(counted),
            Rows = logits.size(0), Classes = logits.size(1), RowStride = logits.stride(0), FirstClass = chunk.FirstClass,
            AllClasses = chunk.AllClasses, Ignored = options.IgnoreIndex, Scale = (float)options.LogitScale,
            Smoothing = (float)options.LabelSmoothing, ZLoss = (float)options.ZLoss,
        };
        CudaRuntime.DeviceOf(logits).Launch(
            Source, $"cross_entropy_{kernel}_{(shift is null ? "" : "bias_")}{Element(logits)}", (logits.size(0), 1, 1), Threads,
            3 * 32 * sizeof(float), arguments);
        GC.KeepAlive((shift, chunk, counted));
    }
}
