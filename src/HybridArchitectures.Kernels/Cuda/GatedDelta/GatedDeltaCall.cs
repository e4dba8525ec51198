using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>
/// Represents the launches of one call of the gated delta rule for some of its rows. Solved systems and scores are scratch memory, which both
/// directions compute.
/// </summary>
sealed class GatedDeltaCall
{
    readonly CudaDevice device;
    readonly GatedDeltaShape shape;
    readonly GatedDeltaArguments start;
    readonly Tensor like;
    readonly long rows;
    readonly object?[] alive;

    /// <summary>Prepares a call and computes what both directions need.</summary>
    public GatedDeltaCall(DeltaRuleInputs inputs, RowLayout layout)
    {
        like = inputs.Value;
        rows = inputs.Batch;
        device = CudaRuntime.DeviceOf(like);
        shape = ShapeFor(inputs.Key, inputs.Value, inputs.Form)!;
        long heads = inputs.Heads, chunks = Chunks(inputs.Length);
        var (query, key, value) = (Aligned(inputs.Query), Aligned(inputs.Key), Aligned(inputs.Value));
        var initial = inputs.InitialState?.contiguous();
        var decay = inputs.DecaysChannels && inputs.KeySize > 1 && inputs.Decay.stride(3) != 1 ? inputs.Decay.contiguous() : inputs.Decay;
        Tensor Scratch(ScalarType type, params long[] sizes) => CudaMemory.New(like, type, [rows, heads, chunks, .. sizes]);
        Tensor Square() => Scratch(ScalarType.BFloat16, GatedDeltaShape.Chunk, GatedDeltaShape.Chunk);
        var (solved, scores) = (shape.Corrects ? Square() : null, Square());
        Tensor Decayed() => Scratch(ScalarType.BFloat16, GatedDeltaShape.Chunk, shape.KeySize);
        bool channels = shape.Channels;
        var numbers = channels ? null : Scratch(ScalarType.Float32, 6, GatedDeltaShape.Chunk);
        var readingKeys = channels && shape.Corrects ? Decayed() : null;
        var (readingQueries, writingKeys) = channels ? (Decayed(), Decayed()) : (null, null);
        var remains = channels ? Scratch(ScalarType.Float32, shape.KeySize) : null;
        start = new()
        {
            Query = GatedDeltaRows.From(query), Key = GatedDeltaRows.From(key), Value = GatedDeltaRows.From(value),
            Decay = GatedDeltaNumbers.From(decay), Strength = GatedDeltaNumbers.From(inputs.Strength),
            Starts = CudaMemory.Address(layout.Starts), Lengths = CudaMemory.Address(layout.Lengths), Initial = CudaMemory.Address(initial),
            Solved = CudaMemory.Address(solved), Scores = CudaMemory.Address(scores), Numbers = CudaMemory.Address(numbers),
            ReadingKeys = CudaMemory.Address(readingKeys), ReadingQueries = CudaMemory.Address(readingQueries),
            WritingKeys = CudaMemory.Address(writingKeys), Remains = CudaMemory.Address(remains),
            Length = inputs.Length, Heads = heads, Groups = key.size(2), Chunks = chunks,
        };
        alive =
        [
            query, key, value, decay, inputs.Strength, layout, initial, solved, scores, numbers, readingKeys, readingQueries, writingKeys, remains,
        ];
        Launch(shape.Prepare, channels ? "channel_prepare" : "prepare", (chunks, channels ? heads : start.Groups, rows), 128, shape.PrepareShared,
            start);
    }

    /// <summary>Returns the bytes of scratch memory that a row needs in the backward pass.</summary>
    public static long RowBytes(DeltaRuleInputs inputs) => Chunks(inputs.Length) * inputs.Heads * sizeof(ushort)
        * (2 * GatedDeltaShape.Chunk * GatedDeltaShape.Chunk + 2 * inputs.KeySize * inputs.ValueSize + GatedDeltaShape.Chunk * inputs.ValueSize
            + (inputs.DecaysChannels ? 3 * GatedDeltaShape.Chunk * inputs.KeySize : 0));

    /// <summary>Returns how the kernels are compiled for these tensors, or null if they do not support them.</summary>
    public static GatedDeltaShape? ShapeFor(Tensor key, Tensor value, GatedDeltaForm form)
    {
        var device = CudaRuntime.DeviceOf(value);
        // heads of all rows that are enough for all multiprocessors: a block of a scan then processes a whole head
        bool manyHeads = value.size(0) * value.size(2) >= device.Multiprocessors;
        return GatedDeltaShape.For(key.size(3), value.size(3), manyHeads, device.Capability, device.SharedMemory, form);
    }

    /// <summary>Writes the output and the final state.</summary>
    public void Forward(Tensor output, Tensor final)
    {
        var arguments = start;
        (arguments.Output, arguments.FinalState) = (GatedDeltaRows.From(output), CudaMemory.Address(final));
        Scan("chunk_scan", arguments);
        GC.KeepAlive((output, final));
    }

    /// <summary>Writes all gradients to <paramref name="results"/>, given those of the output and of the final state (null: zero).</summary>
    public void Backward(Tensor gradient, Tensor? finalGradient, DeltaRuleInputs results)
    {
        Tensor States() => CudaMemory.New(like, ScalarType.BFloat16, rows, start.Heads, start.Chunks, shape.KeySize * shape.ValueSize);
        // without corrections, tokens write their values
        var (errors, states, stateGradients) = (shape.Corrects ? CudaMemory.NewLike(like) : null, States(), States());
        gradient = Aligned(gradient);
        finalGradient = finalGradient?.contiguous();
        var arguments = start;
        (arguments.Error, arguments.Gradient) = (shape.Corrects ? GatedDeltaRows.From(errors) : start.Value, GatedDeltaRows.From(gradient));
        (arguments.States, arguments.StateGradients) = (CudaMemory.Address(states), CudaMemory.Address(stateGradients));
        (arguments.FinalGradient, arguments.InitialGradient) = (CudaMemory.Address(finalGradient), CudaMemory.Address(results.InitialState));
        (arguments.DQuery, arguments.DKey, arguments.DValue) =
            (GatedDeltaRows.From(results.Query), GatedDeltaRows.From(results.Key), GatedDeltaRows.From(results.Value));
        (arguments.DDecay, arguments.DStrength) = (CudaMemory.Address(results.Decay), CudaMemory.Address(results.Strength));
        Scan("chunk_states", arguments);
        Scan("chunk_scan_back", arguments);
        Launch(shape.Pairs, shape.Channels ? "channel_pairs" : "pairs", (start.Chunks, start.Groups, rows), shape.PairThreads, shape.PairShared,
            arguments);
        GC.KeepAlive((errors, states, stateGradients, gradient, finalGradient, results));
    }

    static long Chunks(long length) => (length + GatedDeltaShape.Chunk - 1) / GatedDeltaShape.Chunk;

    void Scan(string kernel, in GatedDeltaArguments arguments) =>
        Launch(GatedDeltaSource.ChunkScan, kernel, (shape.ValueBlocks, start.Heads, rows), shape.ScanThreads, shape.ScanShared, arguments);

    void Launch(
        GatedDeltaSource source, string kernel, (long X, long Y, long Z) grid, int threads, int shared, in GatedDeltaArguments arguments)
    {
        device.Launch(shape.Variant(source), "delta_" + kernel, grid, threads, shared, arguments);
        GC.KeepAlive(alive);
    }

    // returns a tensor that the kernels can read: aligned to 16 bytes, with a dense last dimension
    static Tensor Aligned(Tensor x)
    {
        bool Step(int dimension) => x.size(dimension) == 1 || x.stride(dimension) % 8 == 0;
        bool fits = (x.size(3) == 1 || x.stride(3) == 1) && Step(0) && Step(1) && Step(2) && CudaMemory.Address(x) % 16 == 0;
        return fits ? x : x.is_contiguous() ? x.clone() : x.contiguous();
    }
}
