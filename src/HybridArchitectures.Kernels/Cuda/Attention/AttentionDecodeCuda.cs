using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Computes decoding attention on compute capability 8.0 and later, in bfloat16 and float32.</summary>
static class AttentionDecodeCuda
{
    // the window if there is none
    const long Unbounded = 1 << 30;

    const double Log2E = 1.4426950408889634;

    /// <summary>Returns whether the kernels support the device and the dtype of the queries.</summary>
    public static bool Serves(Tensor query) =>
        query.device_type == DeviceType.CUDA && query.dtype is ScalarType.BFloat16 or ScalarType.Float32;

    /// <summary>
    /// Returns why the kernels do not support arguments that <see cref="Operators.AttentionDecode.Forward"/> supports, or null if they do.
    /// </summary>
    public static string? Refusal(Tensor query, Tensor keys, Tensor values)
    {
        if (query.dtype is not (ScalarType.BFloat16 or ScalarType.Float32)) return $"query is {query.dtype}; expected BFloat16 or Float32";
        long step = 16 / query.ElementSize;
        foreach (var (tensor, name) in new[] { (keys, "keys"), (values, "values") })
        {
            long size = tensor.size(3);
            if (size > AttentionDecodeShape.MaxSize || size % step != 0)
                return $"{name} has heads of {size} elements; expected a multiple of {step} up to {AttentionDecodeShape.MaxSize}";
            if (!Aligned(tensor, step))
                return $"{name} has strides ({string.Join(", ", tensor.stride())}); expected 1 for the last dimension and multiples of {step} "
                    + "for the others, from an address that 16 divides";
        }
        if (keys.size(1) >= Unbounded) return $"keys has {keys.size(1)} slots; expected fewer than {Unbounded}";
        return query.size(0) > ushort.MaxValue ? $"query has {query.size(0)} rows; expected at most {ushort.MaxValue}" : null;
    }

    // whether heads can be read in pieces of 16 bytes
    static bool Aligned(Tensor x, long step)
    {
        bool Step(int dimension) => x.size(dimension) == 1 || x.stride(dimension) % step == 0;
        return x.stride(3) == 1 && Step(0) && Step(1) && Step(2) && CudaMemory.Address(x) % 16 == 0;
    }

    static Tensor Whole(Tensor query) => Aligned(query, 16 / query.ElementSize) ? query : query.contiguous().clone();

    /// <summary>
    /// Computes the operator for inputs that <see cref="Refusal"/> does not refuse, with at least one row and slot.
    /// </summary>
    public static Tensor Forward(AttentionDecodeInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (query, keys, values, lengths) = (Whole(inputs.Query), inputs.Keys, inputs.Values, inputs.Lengths.contiguous());
        var (window, sinks, ring, softcap, workspace) = (inputs.Window, inputs.Sinks, inputs.Ring, inputs.Softcap, inputs.Workspace);
        var logits = CudaMemory.Float32(inputs.SinkLogits);
        long batch = query.size(0), queries = query.size(1), heads = query.size(2), keyHeads = keys.size(2), rows = queries * heads / keyHeads;
        var device = CudaRuntime.DeviceOf(query);
        int maxParts = MaxParts(keyHeads);
        var shape = AttentionDecodeShape.Create(query.dtype, query.size(3), values.size(3), batch, rows, softcap is not null, device.SharedMemory);
        long groups = keyHeads * ((rows + shape.Rows - 1) / shape.Rows), capacity = keys.size(1);
        shape = shape.Deeper(batch * groups * maxParts, device.Multiprocessors, device.SharedMemory);
        long seen = ring ? capacity : Math.Min(capacity, (window ?? Unbounded) + queries - 1 + sinks);
        long parts = Math.Min(maxParts, (seen + shape.Unit - 1) / shape.Unit), rowsThere = Math.Min(shape.Rows, rows);
        var output = CudaMemory.New(query, query.dtype, batch, queries, heads, values.size(3));
        Tensor? sums = null, states = null, arrivals = null;
        if (parts > 1)
        {
            sums = CudaMemory.New(query, ScalarType.Float32, batch * groups * parts * rowsThere * shape.ValueSize);
            states = CudaMemory.New(query, ScalarType.Float32, batch * groups * parts * rowsThere * 2);
            arrivals = workspace?.Arrivals(query, batch * groups) ?? zeros([batch * groups], ScalarType.Int32, query.device);
        }
        var arguments = new AttentionDecodeArguments
        {
            Query = CudaMemory.Address(query), Keys = CudaMemory.Address(keys), Values = CudaMemory.Address(values),
            Lengths = CudaMemory.Address(lengths), SinkLogits = CudaMemory.Address(logits), Output = CudaMemory.Address(output),
            Sums = CudaMemory.Address(sums), States = CudaMemory.Address(states), Arrivals = CudaMemory.Address(arrivals),
            QueryRow = query.stride(0), QueryToken = query.stride(1), QueryHead = query.stride(2),
            KeyRow = keys.stride(0), KeyToken = keys.stride(1), KeyHead = keys.stride(2),
            ValueRow = values.stride(0), ValueToken = values.stride(1), ValueHead = values.stride(2),
            Queries = queries, Heads = heads, KeyHeads = keyHeads, Capacity = capacity, HeadSize = query.size(3), ValueSize = values.size(3),
            Window = window ?? Unbounded, Sinks = Math.Min(sinks, Unbounded), Ring = ring ? 1 : 0, MaxParts = maxParts, Parts = parts,
            Rows = rowsThere, Cap = (float)((softcap ?? 0) * Log2E),
            Scale = (float)(softcap is { } cap ? inputs.Scale / cap : inputs.Scale * Log2E),
        };
        device.Launch(shape.Variant, shape.Kernel, (groups, parts, batch), AttentionDecodeShape.Threads, shape.SharedBytes(maxParts), arguments);
        GC.KeepAlive((query, keys, values, lengths, logits, (sums, states, arrivals, workspace)));
        return output.MoveToOuterDisposeScope();
    }

    // The parts of one row fill a GPU by themselves; they follow from the model alone, so that results do not depend on the batch. The kernels take
    // up to 128.
    static int MaxParts(long keyHeads)
    {
        int parts = 16;
        while (parts < 128 && parts * keyHeads < 256) parts *= 2;
        return parts;
    }
}
