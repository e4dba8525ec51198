using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Represents one call of the state-space dual on a GPU: the data that its launches share in both directions.</summary>
sealed class StateSpaceDualCall
{
    /// <summary>The maximum number of rows of a launch.</summary>
    public const long MaxGrid = 65_535;

    readonly CudaDevice device;
    readonly Tensor step;
    readonly Tensor?[] parameters;
    readonly StateSpaceDualArguments start;
    readonly long headBlocks, segments, chunksPerSegment;
    Tensor? delta, sums, sumsLow, begins, entering, returning;
    bool continued;

    /// <summary>Prepares a call. inputs: x, time step, a, b, c, skip, time-step bias, initial state.</summary>
    public StateSpaceDualCall(IReadOnlyList<Tensor?> inputs, bool softplus, (double Minimum, double Maximum)? limit, Tensor? starts, Tensor? lengths)
    {
        var (x, b) = (inputs[0]!, inputs[3]!);
        device = CudaRuntime.DeviceOf(x);
        long heads = x.size(2), groups = b.size(2);
        Shape = StateSpaceDualShape.For(
            x.size(3), b.size(3), x.dtype == ScalarType.Float32, heads / groups, starts is not null, device.Capability, device.SharedMemory);
        (X, B, C) = (Inner(x), Inner(b), Inner(inputs[4]!));
        step = inputs[1]!.size(2) == 1 || inputs[1]!.stride(2) == 1 ? inputs[1]! : inputs[1]!.contiguous();
        Initial = inputs[7]?.contiguous();
        parameters = [inputs[2]!.contiguous(), CudaMemory.Float32(inputs[5]), CudaMemory.Float32(inputs[6]), starts, lengths];
        Chunks = (X.size(1) + Shape.Chunk - 1) / Shape.Chunk;
        headBlocks = groups * ((heads / groups + Shape.Heads - 1) / Shape.Heads) * Shape.Slices;
        chunksPerSegment = ChunksPerSegment(X.size(0) * headBlocks);
        segments = (Chunks + chunksPerSegment - 1) / chunksPerSegment;
        start = new()
        {
            TimeStep = CudaTyped.From(step), A = CudaMemory.Address(parameters[0]), Skip = CudaMemory.Address(parameters[1]),
                Bias = CudaMemory.Address(parameters[2]),
            Starts = CudaMemory.Address(starts), Lengths = CudaMemory.Address(lengths), Batch = X.size(0), Length = X.size(1), Heads = heads,
            Groups = groups, Chunks = Chunks,
            Segments = 1, ChunksPerSegment = Chunks, Splits = 1, OutgoingSegments = 1, StepRow = step.stride(0), StepToken = step.stride(1),
            Softplus = softplus ? 1 : 0,
            Minimum = (float)(limit?.Minimum ?? double.NegativeInfinity), Maximum = (float)(limit?.Maximum ?? double.PositiveInfinity),
        };
    }

    public Tensor X { get; }

    public Tensor B { get; }

    public Tensor C { get; }

    public Tensor? Initial { get; }

    public StateSpaceDualShape Shape { get; }

    public long Chunks { get; }

    /// <summary>Gets the size in bytes of the states of a row before all chunks.</summary>
    public long StatesSize => X.ElementSize * Chunks * start.Heads * Shape.HeadSize * Shape.States;

    /// <summary>
    /// Gets the results of <see cref="Steps"/> and the first <see cref="Walk"/>, in the order of the arguments of <see cref="Continue"/>.
    /// </summary>
    public Tensor?[] Kept => [delta, sums, sumsLow, begins, entering];

    public void Continue(params ReadOnlySpan<Tensor?> kept) =>
        (delta, sums, sumsLow, begins, entering, continued) = (kept[0], kept[1], kept[2], kept[3], kept[4], true);

    /// <summary>
    /// Returns a tensor (B, L, ., .) as the kernels read it: with contiguous last two dimensions and, for products of four warps, in whole pieces of
    /// 16 bytes.
    /// </summary>
    public Tensor Inner(Tensor tensor)
    {
        bool dense = (tensor.size(3) == 1 || tensor.stride(3) == 1) && (tensor.size(2) == 1 || tensor.stride(2) == tensor.size(3));
        return !dense ? tensor.contiguous() : !Shape.Grouped || (Whole(tensor) && Apart(tensor)) ? tensor : tensor.clone();
    }

    /// <summary>Allocates the states before all chunks of a number of rows, in the type of the activations.</summary>
    public Tensor NewStates(long rows) => CudaMemory.New(X, X.dtype, rows, Chunks, start.Heads, Shape.HeadSize, Shape.States);

    /// <summary>Returns the number of blocks that share the heads of a chunk if there are too few chunks for the GPU.</summary>
    public long Splits(long rows) => Math.Clamp(device.Multiprocessors / (rows * Chunks * start.Groups), 1, start.Heads / start.Groups);

    /// <summary>Computes the time steps and their sums.</summary>
    public void Steps()
    {
        Tensor New() => CudaMemory.New(X, ScalarType.Float32, start.Batch, start.Heads, Chunks, Shape.Chunk);
        (delta, sums, sumsLow) = (New(), New(), New());
        // integers, in memory that is declared as float32, which makes no difference
        if (start.Starts != 0) begins = CudaMemory.New(X, ScalarType.Float32, start.Batch, Chunks, Shape.Chunk);
        for (long first = 0; first < start.Batch; first += MaxGrid)
        {
            var arguments = For(X, B, C);
            arguments.FirstRow = first;
            Launch("steps", (Chunks * ((start.Heads + 31) / 32), Math.Min(MaxGrid, start.Batch - first), 1), 256,
                StateSpaceDualShape.StepShared(Shape.Chunk), arguments);
        }
    }

    /// <summary>
    /// Walks from the first chunk of some rows, at most <see cref="MaxGrid"/>, to the last, or back. It begins with the incoming state (null: zero)
    /// and writes the requested results: the last state, the output, the states before every chunk (rows, chunks, H, P, N).
    /// </summary>
    public void Walk(bool back, Tensor input, Tensor key, Tensor query, Tensor? incoming, Tensor? outgoing, Tensor? output, Tensor? states,
        long firstRow, long rows)
    {
        var arguments = For(input, key, query);
        string direction = back ? "_back" : "";
        arguments.FirstRow = firstRow;
        arguments.Incoming = CudaMemory.Address(incoming);
        if (output is not null) arguments.OutMap = Map(output);
        if (segments > 1)
        {
            (arguments.Segments, arguments.ChunksPerSegment) = (segments, chunksPerSegment);
            ref var cut = ref (back ? ref returning : ref entering);
            cut ??= CudaMemory.New(X, ScalarType.Float32, start.Batch, segments, start.Heads, Shape.HeadSize, Shape.States);
            var own = arguments;
            (own.Outgoing, own.OutgoingSegments) = (CudaMemory.Address(cut), segments);
            if (back || !continued)
            {
                // each segment without an incoming state, then the contribution of that state
                own.Incoming = 0;
                Launch("states" + direction, (headBlocks, rows, segments), Shape.WalkThreads, Shape.StatesShared, own);
                own.Incoming = arguments.Incoming;
                Launch("combine" + direction, (start.Heads * ((Shape.HeadSize * Shape.States + 255) / 256), rows, 1), 256,
                    (int)segments * sizeof(float), own);
            }
            arguments.Incoming = own.Outgoing;
        }
        (arguments.Outgoing, arguments.Out, arguments.States) =
            (CudaMemory.Address(outgoing), CudaMemory.Address(output), CudaMemory.Address(states));
        if (output is null) Launch("states" + direction, (headBlocks, rows, segments), Shape.WalkThreads, Shape.StatesShared, arguments);
        else Launch("walk" + direction, (headBlocks, rows, segments), Shape.WalkThreads, Shape.WalkShared, arguments);
        GC.KeepAlive((input, key, query, incoming));
    }

    /// <summary>Returns a tensor (B, L, ., .) for the copy engine; empty if the kernels do not need it.</summary>
    public CudaTensorMap Map(Tensor tensor)
    {
        if (!Shape.Grouped || tensor.numel() == 0) return default;
        // strides have no meaning if rows or tokens are one
        long elements = tensor.size(2) * tensor.size(3), token = tensor.size(1) == 1 ? elements : tensor.stride(1),
            row = tensor.size(0) == 1 ? token * tensor.size(1) : tensor.stride(0);
        return device.TensorMap(CudaMemory.Address(tensor), (tensor.size(0), tensor.size(1), elements),
            (row * tensor.ElementSize, token * tensor.ElementSize));
    }

    /// <summary>Returns the arguments for these activations and projections.</summary>
    public StateSpaceDualArguments For(Tensor input, Tensor key, Tensor query)
    {
        var arguments = start;
        (arguments.In, arguments.InRow, arguments.InToken) = (CudaMemory.Address(input), input.stride(0), input.stride(1));
        (arguments.Key, arguments.KeyRow, arguments.KeyToken) = (CudaMemory.Address(key), key.stride(0), key.stride(1));
        (arguments.Query, arguments.QueryRow, arguments.QueryToken) = (CudaMemory.Address(query), query.stride(0), query.stride(1));
        (arguments.Delta, arguments.Cum) = (CudaMemory.Address(delta), CudaMemory.Address(sums));
        (arguments.CumLow, arguments.Begins) = (CudaMemory.Address(sumsLow), CudaMemory.Address(begins));
        arguments.Wide = Whole(input) && Whole(key) && Whole(query) ? 1 : 0;
        (arguments.InMap, arguments.KeyMap, arguments.QueryMap) = (Map(input), Map(key), Map(query));
        return arguments;
    }

    /// <summary>Returns whether a tensor (B, L, ., .) can be copied in pieces of 16 bytes.</summary>
    static bool Whole(Tensor tensor)
    {
        long piece = 16 / tensor.ElementSize;
        bool Divides(int dimension) => tensor.size(dimension) == 1 || tensor.stride(dimension) % piece == 0;
        return tensor.size(3) % piece == 0 && CudaMemory.Address(tensor) % 16 == 0 && Divides(0) && Divides(1);
    }

    /// <summary>Returns a map of the states before all chunks: all channels of the chunks and heads of a row are tokens.</summary>
    public CudaTensorMap MapStates(Tensor states)
    {
        using var channels = states.view(states.size(0), Chunks * start.Heads * Shape.HeadSize, 1, Shape.States);
        return Map(channels);
    }

    // Whether rows and tokens each have separate memory, unlike those of an expanded tensor. The copy engine does not accept a stride of zero.
    static bool Apart(Tensor tensor) => (tensor.size(0) == 1 || tensor.stride(0) > 0) && (tensor.size(1) == 1 || tensor.stride(1) > 0);

    public void Launch(string kernel, (long X, long Y, long Z) grid, int threads, int shared, in StateSpaceDualArguments arguments)
    {
        device.Launch(Shape.Source(kernel is "steps" or "combine" or "states" or "walk"), "dual_" + kernel, grid, threads, shared, arguments);
        GC.KeepAlive((X, B, C, step, parameters));
    }

    // segments such that the blocks fill the GPU in few rounds; the states of segments add about a third of the time of a walk
    long ChunksPerSegment(long blocks)
    {
        long best = Chunks, slots = Shape.Blocks * device.Multiprocessors;
        double least = Math.Ceiling((double)blocks / slots) * Chunks;
        for (long count = 2; count <= Math.Min(Chunks, 64); count++)
        {
            long chunks = (Chunks + count - 1) / count, cut = (Chunks + chunks - 1) / chunks;
            double cost = Math.Ceiling((double)blocks * cut / slots) * chunks * 1.35;
            if (cost < least) (least, best) = (cost, chunks);
        }
        return best;
    }
}
