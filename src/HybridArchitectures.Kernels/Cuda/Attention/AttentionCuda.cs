using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Computes attention on compute capability 9.0 in bfloat16. It saves queries, keys, values, the output, one float32 number for each query and head,
/// and the bounds for the gradient. The backward pass also stores the gradient of the queries in float32.
/// </summary>
static class AttentionCuda
{
    const int Capability = 90;

    // the window if there is none
    const long Unbounded = 1 << 30;

    // the bytes of the second-level cache for the sums of dQ of the heads that are processed together
    const long SumsAtATime = 64L << 20;

    /// <summary>Returns whether the kernels support the device and the type of these queries.</summary>
    public static bool Serves(Tensor query) =>
        query.dtype == ScalarType.BFloat16 && query.device_type == DeviceType.CUDA && CudaRuntime.DeviceOf(query).Capability == Capability;

    /// <summary>
    /// Returns why the kernels do not support arguments that <see cref="Operators.FusedAttention.Forward"/> supports, or null if they do.
    /// </summary>
    public static string? Refusal(AttentionInputs inputs)
    {
        var (query, key, value, positions) = (inputs.Query, inputs.Key, inputs.Value, inputs.Positions);
        if (query.dtype != ScalarType.BFloat16) return $"query is {query.dtype}; expected BFloat16";
        int capability = CudaRuntime.DeviceOf(query).Capability;
        if (capability != Capability) return $"query is on a GPU of compute capability {capability / 10}.{capability % 10}; expected 9.0";
        bool gradient = inputs.RecordsGradient;
        long max = gradient ? AttentionShape.MaxBackwardSize : AttentionShape.MaxForwardSize;
        string where = gradient ? " where gradients are recorded" : "";
        if (query.size(3) > max) return $"query has a head size of {query.size(3)}; expected at most {max}{where}";
        if (value.size(3) > max) return $"value has a head size of {value.size(3)}; expected at most {max}{where}";
        if (inputs.Scale <= 0) return $"scale is {inputs.Scale}; expected a number above 0";
        if (positions is not null && positions.Bounds is null)
            return "positions were given token by token; expected positions from AttentionPositions.FromLayout, whose keys are in order";
        if (Math.Max(query.size(1), key.size(1)) >= Unbounded) return $"key has {key.size(1)} tokens; expected fewer than {Unbounded}";
        return query.size(0) > ushort.MaxValue || query.size(2) > ushort.MaxValue
            ? $"query has {query.size(0)} rows of {query.size(2)} heads; expected at most {ushort.MaxValue} of each" : null;
    }

    /// <summary>Computes attention for inputs that <see cref="Refusal"/> does not refuse, with at least one row, query and key.</summary>
    public static Tensor Forward(AttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        long valueSize = inputs.Value.size(3);
        // a multiple of 16 bytes for the copy engine; zeros change neither scores nor the part of the values that is returned
        inputs = inputs with
        {
            Query = Padded(inputs.Query), Key = Padded(inputs.Key), Value = Padded(inputs.Value),
            Sinks = inputs.Window is null ? 0 : inputs.Sinks,
        };
        var output = Apply(inputs with { Positions = null }, inputs.Positions?.Bounds);
        return (output.size(3) == valueSize ? output : output.narrow(3, 0, valueSize)).MoveToOuterDisposeScope();
    }

    static Tensor Padded(Tensor x) => x.size(3) % 8 == 0 ? x : nn.functional.pad(x, [0, 8 - x.size(3) % 8]);

    // Logarithms: of the sums of the softmax, base 2; Ranges: of the keys that blocks of queries see
    sealed record Saved(AttentionInputs Inputs, Tensor? Bounds, Tensor Output, Tensor? Logarithms, Tensor? Ranges) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) =>
            new(Inputs.Map(replace), replace(Bounds), replace(Output)!, replace(Logarithms), replace(Ranges));
    }

    static Tensor Apply(AttentionInputs inputs, Tensor? bounds) =>
        Autograd.Apply<Saved>([inputs.Query, inputs.Key, inputs.Value, inputs.SinkLogits], context =>
        {
            var (query, value) = (inputs.Query, inputs.Value);
            var call = new Call(inputs, bounds);
            var output = CudaMemory.New(query, ScalarType.BFloat16, query.size(0), query.size(1), query.size(2), value.size(3));
            var logarithms = context.NeedsGradient ? CudaMemory.New(query, ScalarType.Float32, query.size(0), query.size(2),
                Rounded(query.size(1), 128)) : null;
            call.Forward(output, logarithms);
            return ([output], new Saved(inputs, bounds, output, logarithms, call.Ranges));
        }, Backward)[0];

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var (inputs, logarithms) = (saved.Inputs, saved.Logarithms!);
        var call = new Call(inputs, saved.Bounds) { Ranges = saved.Ranges };
        var (dQuery, dKey, dValue) = (CudaMemory.NewLike(inputs.Query), CudaMemory.NewLike(inputs.Key), CudaMemory.NewLike(inputs.Value));
        using var delta = call.Backward(context.Gradients[0]!.to(ScalarType.BFloat16), saved.Output, logarithms, dQuery, dKey, dValue);
        return [dQuery, dKey, dValue, context.Needs(3) ? SinkGradient(inputs.SinkLogits!, logarithms, delta) : null];
    }

    // A sink logit has no value. The derivative of its probability p is -delta, so that of the logit is -p delta, summed over rows and queries.
    static Tensor SinkGradient(Tensor sinkLogits, Tensor logarithms, Tensor delta)
    {
        using var scope = NewDisposeScope();
        var logits = sinkLogits.to(ScalarType.Float32).mul(Log2E).reshape(1, -1, 1);
        var probabilities = (logits - logarithms).exp2();
        return probabilities.mul(delta.reshape(logarithms.shape)).sum([0L, 2L]).neg().to(sinkLogits.dtype).MoveToOuterDisposeScope();
    }

    static readonly Scalar Log2E = (1 / Math.Log(2)).ToScalar();

    static long Rounded(long number, long to) => (number + to - 1) / to * to;

    // the data that the launches of one call share
    sealed class Call
    {
        readonly CudaDevice device;
        readonly AttentionShape shape;
        readonly Tensor query, key, value;
        readonly Tensor? bounds, sinkLogits;
        readonly AttentionArguments start;

        public Call(AttentionInputs inputs, Tensor? bounds)
        {
            var (query, key, value) = (inputs.Query, inputs.Key, inputs.Value);
            device = CudaRuntime.DeviceOf(query);
            shape = AttentionShape.For(query.size(3), value.size(3), inputs.Sinks > 0, inputs.Softcap is not null, device.SharedMemory);
            sinkLogits = CudaMemory.Float32(inputs.SinkLogits);
            (this.query, this.key, this.value, this.bounds) = (Mappable(query), Mappable(key), Mappable(value), bounds);
            start = new()
            {
                Query = Map(this.query), Key = Map(this.key), Value = Map(this.value), Bounds = CudaMemory.Address(bounds),
                Batch = query.size(0), Queries = query.size(1), Keys = key.size(1), Heads = query.size(2), KeyHeads = key.size(2),
                QuerySize = query.size(3), ValueSize = value.size(3), Window = Math.Min(inputs.Window ?? Unbounded, Unbounded),
                Sinks = Math.Min(inputs.Sinks, Unbounded), SinkLogits = CudaMemory.Address(sinkLogits), Scale = (float)inputs.Scale,
                ScaleLog2 = (float)(inputs.Scale / Math.Log(2)), Cap = (float)(inputs.Scale / (inputs.Softcap ?? 1)),
                CapLog2 = (float)((inputs.Softcap ?? 0) / Math.Log(2)),
            };
        }

        /// <summary>
        /// Gets or sets which keys blocks of queries see, shape (batch, blocks of 64 queries, 6), integers in memory that is declared as float32.
        /// Null without bounds.
        /// </summary>
        public Tensor? Ranges { get; set; }

        public void Forward(Tensor output, Tensor? logarithms)
        {
            var arguments = start;
            if (bounds is not null)
            {
                long blocks = Rounded(start.Queries, AttentionBounds.Block) / AttentionBounds.Block;
                Ranges = CudaMemory.New(query, ScalarType.Float32, start.Batch, blocks, 6);
                arguments.Ranges = CudaMemory.Address(Ranges);
                Launch(shape.Forward, "ranges", (blocks, start.Batch, 1), AttentionBounds.Block, AttentionBounds.Block * 6 * sizeof(int), arguments);
            }
            (arguments.Output, arguments.Logarithms) = (Map(output), CudaMemory.Address(logarithms));
            long tiles = start.Batch * start.Heads * ((start.Queries + shape.Queries - 1) / shape.Queries);
            arguments.Together = start.Window < Unbounded ? 4 : start.Batch * start.Heads;
            Launch(shape.Forward, "forward", (Math.Min(tiles, device.Multiprocessors), 1, 1), shape.ForwardThreads, shape.ForwardShared, arguments);
            GC.KeepAlive((output, logarithms));
        }

        /// <summary>Returns delta: (batch, heads, queries rounded up to 128), the sum over a head of output times gradient.</summary>
        public Tensor Backward(Tensor gradient, Tensor output, Tensor logarithms, Tensor dQuery, Tensor dKey, Tensor dValue)
        {
            gradient = Mappable(gradient);
            long tile = shape.QueryTile, queryBlocks = (start.Queries + tile - 1) / tile;
            long keyBlocks = (start.Keys + AttentionShape.BackwardKeys - 1) / AttentionShape.BackwardKeys;
            long lines = start.Batch * start.Heads, room = Rounded(start.Queries, 128);
            Tensor Single(long size) => CudaMemory.New(query, ScalarType.Float32, size);
            // counters and block numbers are integers in memory that is declared as float32
            var (delta, sums, counters) = (Single(lines * room), Single(lines * queryBlocks * shape.SumsSize), Single(lines * queryBlocks + 1));
            var visitors = bounds is null ? null : Single(start.Batch * keyBlocks * 2);
            var arguments = start;
            (arguments.Ranges, arguments.Visitors) = (CudaMemory.Address(Ranges), CudaMemory.Address(visitors));
            (arguments.Logarithms, arguments.Delta) = (CudaMemory.Address(logarithms), CudaMemory.Address(delta));
            (arguments.DQuerySums, arguments.Turns) = (CudaMemory.Address(sums), CudaMemory.Address(counters));
            arguments.Ticket = arguments.Turns + (nint)(lines * queryBlocks * sizeof(int));
            (arguments.Gradient, arguments.DKey, arguments.DValue) = (Map(gradient), Map(dKey), Map(dValue));
            arguments.DQuery = CudaMemory.Address(dQuery);
            (arguments.PlainOutput, arguments.PlainGradient) = (CudaMemory.Address(output), CudaMemory.Address(gradient));
            (arguments.GradientRow, arguments.GradientToken, arguments.GradientHead) = (gradient.stride(0), gradient.stride(1), gradient.stride(2));
            arguments.Together = Together();
            Launch(shape.Backward, "prepare", ((lines * room + 31) / 32, 1, 1), 256, 0, arguments);
            if (visitors is not null) Launch(shape.Backward, "visitors", ((queryBlocks + 127) / 128, start.Batch, 1), 128, 0, arguments);
            Launch(shape.Backward, "backward", (start.Batch * start.KeyHeads * keyBlocks, 1, 1), shape.BackwardThreads, shape.BackwardShared,
                arguments);
            long rows = ushort.MaxValue / start.Heads;
            Launch(shape.Backward, "finish", (queryBlocks * (tile / 64), start.Heads * Math.Min(start.Batch, rows), (start.Batch + rows - 1) / rows),
                128, 0, arguments);
            GC.KeepAlive((gradient, output, logarithms, dQuery, dKey, dValue));
            GC.KeepAlive((delta, sums, counters, visitors));
            return delta;
        }

        // Blocks of one head add to the same sums one after another. If few heads are processed at a time, the sums stay in the second-level cache.
        // With windows and documents, each part of the sums is used only a few times.
        long Together()
        {
            long lines = start.Batch * start.KeyHeads;
            if (bounds is not null || start.Window < Unbounded) return lines;
            long bytes = start.Heads / start.KeyHeads * start.Queries * start.QuerySize * sizeof(float);
            return Math.Clamp(SumsAtATime / bytes, Math.Min(4, lines), lines);
        }

        void Launch(KernelVariant variant, string kernel, (long X, long Y, long Z) grid, int threads, int shared, in AttentionArguments arguments)
        {
            device.Launch(variant, "attention_" + kernel, grid, threads, shared, arguments);
            GC.KeepAlive((query, key, value, bounds, Ranges, sinkLogits));
        }

        CudaTensorMap Map(Tensor x)
        {
            // the stride of a dimension of size 1 has no meaning
            long head = x.size(2) == 1 ? x.size(3) : x.stride(2), token = x.size(1) == 1 ? head * x.size(2) : x.stride(1), row = x.size(0) == 1
                ? token * x.size(1) : x.stride(0);
            return device.TensorMap(CudaMemory.Address(x), (x.size(0), x.size(1), x.size(2), x.size(3)),
                (row * sizeof(ushort), token * sizeof(ushort), head * sizeof(ushort)));
        }

        // as the copy engine requires it: contiguous elements of a head, and strides that are multiples of 16 bytes and not 0
        static Tensor Mappable(Tensor x)
        {
            bool Step(int dimension) => x.size(dimension) == 1 || (x.stride(dimension) > 0 && x.stride(dimension) % 8 == 0);
            bool fits = (x.size(3) == 1 || x.stride(3) == 1) && Step(0) && Step(1) && Step(2) && CudaMemory.Address(x) % 16 == 0;
            return fits ? x : x.is_contiguous() ? x.clone() : x.contiguous();
        }
    }
}
