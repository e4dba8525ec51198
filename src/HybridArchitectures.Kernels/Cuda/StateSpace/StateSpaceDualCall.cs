using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Represents one call of the state-space dual on a GPU: the data that its launches share in both directions.</summary>
sealed class StateSpaceDualCall
{
    const double ChunksOfSegmentState = 4;

    /// <summary>Specifies the maximum number of rows of a launch.</summary>
    public const long MaxGrid = 65_535;

    readonly CudaDevice device;
    readonly StateSpaceDualInputs inputs;
    readonly RowLayout layout;
    readonly StateSpaceDualArguments start;
    readonly long headBlocks, segments, chunksPerSegment;
    readonly bool continued;
    Tensor? returning;

    /// <summary>Prepares a call. The sums are null before the forward kernels have computed them.</summary>
    public StateSpaceDualCall(StateSpaceDualInputs inputs, RowLayout layout, StateSpaceDualSums? sums)
    {
        device = CudaRuntime.DeviceOf(inputs.X);
        (this.layout, Sums, continued) = (layout, sums ?? new(null, null, null, null, null), sums is not null);
        long headsPerGroup = inputs.Heads / inputs.Groups;
        Shape = StateSpaceDualShape.For(inputs.HeadSize, inputs.StateSize, inputs.X.dtype == ScalarType.Float32, headsPerGroup,
            layout.Starts is not null, device.Capability, device.SharedMemory);
        // as the kernels read them
        inputs = this.inputs = inputs with
        {
            X = Inner(inputs.X), B = Inner(inputs.B), C = Inner(inputs.C),
            Dt = inputs.Dt.size(2) == 1 || inputs.Dt.stride(2) == 1 ? inputs.Dt : inputs.Dt.contiguous(), A = inputs.A.contiguous(),
            D = CudaMemory.Float32(inputs.D), DtBias = CudaMemory.Float32(inputs.DtBias), InitialState = inputs.InitialState?.contiguous(),
        };
        Chunks = (inputs.Length + Shape.Chunk - 1) / Shape.Chunk;
        headBlocks = inputs.Groups * ((headsPerGroup + Shape.Heads - 1) / Shape.Heads) * Shape.Slices;
        chunksPerSegment = ChunksPerSegment(inputs.Batch * headBlocks);
        segments = (Chunks + chunksPerSegment - 1) / chunksPerSegment;
        start = new()
        {
            RawDt = CudaTyped.From(inputs.Dt), A = CudaMemory.Address(inputs.A), D = CudaMemory.Address(inputs.D),
            DtBias = CudaMemory.Address(inputs.DtBias), Starts = CudaMemory.Address(layout.Starts), Lengths = CudaMemory.Address(layout.Lengths),
            Batch = inputs.Batch, Length = inputs.Length, Heads = inputs.Heads, Groups = inputs.Groups, Chunks = Chunks, Segments = 1,
            ChunksPerSegment = Chunks, Splits = 1, OutgoingSegments = 1, DtRow = inputs.Dt.stride(0), DtToken = inputs.Dt.stride(1),
            Softplus = inputs.Softplus ? 1 : 0, MinDt = (float)(inputs.DtLimit?.Minimum ?? double.NegativeInfinity),
            MaxDt = (float)(inputs.DtLimit?.Maximum ?? double.PositiveInfinity),
        };
    }

    public Tensor X => inputs.X;

    public Tensor B => inputs.B;

    public Tensor C => inputs.C;

    public Tensor? Initial => inputs.InitialState;

    public StateSpaceDualShape Shape { get; }

    public long Chunks { get; }

    /// <summary>Gets the results of <see cref="ComputeSums"/> and of the first forward <see cref="Scan"/>.</summary>
    public StateSpaceDualSums Sums { get; private set; }

    /// <summary>Gets the size in bytes of the states of a row before all chunks.</summary>
    public long StatesSize => X.ElementSize * Chunks * start.Heads * Shape.HeadSize * Shape.States;

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

    /// <summary>Computes the time steps and the sums of their decays.</summary>
    public void ComputeSums()
    {
        Tensor New() => CudaMemory.New(X, ScalarType.Float32, start.Batch, start.Heads, Chunks, Shape.Chunk);
        // the begins of documents are integers, in memory that is declared as float32, which makes no difference
        Sums = new(New(), New(), New(), start.Starts == 0 ? null : CudaMemory.New(X, ScalarType.Float32, start.Batch, Chunks, Shape.Chunk), null);
        for (long first = 0; first < start.Batch; first += MaxGrid)
        {
            var arguments = For(X, B, C);
            arguments.FirstRow = first;
            Launch("steps", (Chunks * ((start.Heads + 31) / 32), Math.Min(MaxGrid, start.Batch - first), 1), 256,
                StateSpaceDualShape.StepShared(Shape.Chunk), arguments);
        }
    }

    /// <summary>
    /// Scans the chunks of some rows, at most <see cref="MaxGrid"/>, from the first to the last, or back. It begins with the incoming state (null:
    /// zero) and writes the requested results: the last state, the output, the states before every chunk (rows, chunks, H, P, N). A scan back has
    /// the gradient of the output as x, C as B, and B as C.
    /// </summary>
    public void Scan(bool back, (Tensor X, Tensor B, Tensor C) operands, Tensor? incoming, Tensor? outgoing, Tensor? output, Tensor? states,
        long firstRow, long rows)
    {
        var arguments = For(operands.X, operands.B, operands.C);
        string direction = back ? "_back" : "";
        arguments.FirstRow = firstRow;
        arguments.Incoming = CudaMemory.Address(incoming);
        if (output is not null)
        {
            arguments.OutputMap = Map(output);
            (arguments.OutputRow, arguments.OutputToken) = (output.stride(0), output.stride(1));
        }
        if (segments > 1) StartSegments(back, ref arguments, rows);
        (arguments.Outgoing, arguments.Output, arguments.States) =
            (CudaMemory.Address(outgoing), CudaMemory.Address(output), CudaMemory.Address(states));
        if (output is null) Launch("states" + direction, (headBlocks, rows, segments), Shape.ScanThreads, Shape.StatesShared, arguments);
        else Launch("chunk_scan" + direction, (headBlocks, rows, segments), Shape.ScanThreads, Shape.ScanShared, arguments);
        GC.KeepAlive((operands, incoming, outgoing, output, states));
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

    // computes the state before each segment, unless it is known, and makes it the incoming state
    void StartSegments(bool back, ref StateSpaceDualArguments arguments, long rows)
    {
        string direction = back ? "_back" : "";
        (arguments.Segments, arguments.ChunksPerSegment) = (segments, chunksPerSegment);
        Tensor New() => CudaMemory.New(X, ScalarType.Float32, start.Batch, segments, start.Heads, Shape.HeadSize, Shape.States);
        if (back) returning ??= New();
        else if (Sums.SegmentStates is null) Sums = Sums with { SegmentStates = New() };
        var segmentArguments = arguments;
        (segmentArguments.Outgoing, segmentArguments.OutgoingSegments) = (CudaMemory.Address(back ? returning : Sums.SegmentStates), segments);
        if (back || !continued)
        {
            // each segment without an incoming state, then the contribution of that state
            segmentArguments.Incoming = 0;
            Launch("states" + direction, (headBlocks, rows, segments), Shape.ScanThreads, Shape.StatesShared, segmentArguments);
            segmentArguments.Incoming = arguments.Incoming;
            Launch("combine" + direction, (start.Heads * ((Shape.HeadSize * Shape.States + 255) / 256), rows, 1), 256,
                (int)segments * sizeof(float), segmentArguments);
        }
        arguments.Incoming = segmentArguments.Outgoing;
    }

    /// <summary>Returns the arguments for these operands of a scan.</summary>
    public StateSpaceDualArguments For(Tensor x, Tensor B, Tensor C)
    {
        var arguments = start;
        (arguments.X, arguments.XRow, arguments.XToken) = (CudaMemory.Address(x), x.stride(0), x.stride(1));
        (arguments.B, arguments.BRow, arguments.BToken) = (CudaMemory.Address(B), B.stride(0), B.stride(1));
        (arguments.C, arguments.CRow, arguments.CToken) = (CudaMemory.Address(C), C.stride(0), C.stride(1));
        (arguments.Dt, arguments.DecaySums) = (CudaMemory.Address(Sums.Dt), CudaMemory.Address(Sums.DecaySums));
        (arguments.DecaySumsLow, arguments.DocumentBegins) = (CudaMemory.Address(Sums.DecaySumsLow), CudaMemory.Address(Sums.DocumentBegins));
        arguments.Wide = Whole(x) && Whole(B) && Whole(C) ? 1 : 0;
        (arguments.XMap, arguments.BMap, arguments.CMap) = (Map(x), Map(B), Map(C));
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
        device.Launch(Shape.Variant(kernel is "steps" or "combine" or "states" or "chunk_scan"), "dual_" + kernel, grid, threads, shared, arguments);
        GC.KeepAlive((inputs, layout, Sums));
    }

    // Segments such that the blocks fill the GPU in few rounds. The states of segments add about a third of the time of a scan. The state of each
    // segment is written, combined and read in float32, which takes as long as a few chunks of the scan.
    long ChunksPerSegment(long blocks)
    {
        long best = Chunks, slots = Shape.Blocks * device.Multiprocessors;
        double minCost = Math.Ceiling((double)blocks / slots) * Chunks;
        for (long count = 2; count <= Math.Min(Chunks, 64); count++)
        {
            long chunks = (Chunks + count - 1) / count, cut = (Chunks + chunks - 1) / chunks;
            double cost = Math.Ceiling((double)blocks * cut / slots) * (chunks * 1.35 + ChunksOfSegmentState);
            if (cost < minCost) (minCost, best) = (cost, chunks);
        }
        return best;
    }
}
