using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Attention on compute capability 9.0 in bfloat16. Saved for the gradient: queries, keys, values, the output, one float32 number for each query and
/// head, and the bounds. The backward pass also holds the gradient of the queries in float32.
/// </summary>
static class AttentionCuda
{
    const int Capability = 90;

    // a window, where there is none
    const long Unbounded = 1 << 30;

    // what the sums of dQ of the heads at work may take of the second-level cache
    const long SumsAtATime = 64L << 20;

    /// <summary>Whether the device of these queries has the kernels, and they are of the type that the kernels take.</summary>
    public static bool Serves(Tensor query) =>
        query.dtype == ScalarType.BFloat16 && query.device_type == DeviceType.CUDA && CudaRuntime.DeviceOf(query).Capability == Capability;

    /// <summary>Why the kernels do not take these arguments, which <see cref="Operators.FusedAttention.Forward"/> takes; null if they do.</summary>
    public static string? Refusal(Tensor query, Tensor key, Tensor value, double? scale, AttentionPositions? positions, Tensor? sinkLogits)
    {
        if (query.dtype != ScalarType.BFloat16) return $"query is {query.dtype}; expected BFloat16";
        int capability = CudaRuntime.DeviceOf(query).Capability;
        if (capability != Capability) return $"query is on a GPU of compute capability {capability / 10}.{capability % 10}; expected 9.0";
        bool gradient = is_grad_enabled()
            && (query.requires_grad || key.requires_grad || value.requires_grad || sinkLogits is { requires_grad: true });
        long most = gradient ? AttentionShape.MaxBackwardSize : AttentionShape.MaxForwardSize;
        string where = gradient ? " where gradients are recorded" : "";
        if (query.size(3) > most) return $"query has a head size of {query.size(3)}; expected at most {most}{where}";
        if (value.size(3) > most) return $"value has a head size of {value.size(3)}; expected at most {most}{where}";
        if (scale <= 0) return $"scale is {scale}; expected a number above 0";
        if (positions is not null && positions.Bounds is null)
            return "positions were given token by token; expected positions made by AttentionPositions.FromLayout, whose keys stand in order";
        if (Math.Max(query.size(1), key.size(1)) >= Unbounded) return $"key has {key.size(1)} tokens; expected fewer than {Unbounded}";
        return query.size(0) > ushort.MaxValue || query.size(2) > ushort.MaxValue
            ? $"query has {query.size(0)} rows of {query.size(2)} heads; expected at most {ushort.MaxValue} of each" : null;
    }

    /// <summary>
    /// Arguments as <see cref="Operators.FusedAttention.Forward"/> that <see cref="Refusal"/> does not refuse, with at least one row, query and key.
    /// </summary>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, double? scale, int? window, int sinks, AttentionPositions? positions,
        double? softcap, Tensor? sinkLogits)
    {
        using var scope = NewDisposeScope();
        long valueSize = value.size(3);
        var scores = new Scores(scale ?? 1 / Math.Sqrt(query.size(3)), window, window is null ? 0 : sinks, softcap);
        // a multiple of 16 bytes for the copy engine; zeros change neither scores nor the part of the values that is kept
        (query, key, value) = (Padded(query), Padded(key), Padded(value));
        var output = Apply(query, key, value, sinkLogits, scores, positions?.Bounds);
        return (output.size(3) == valueSize ? output : output.narrow(3, 0, valueSize)).MoveToOuterDisposeScope();
    }

    static Tensor Padded(Tensor x) => x.size(3) % 8 == 0 ? x : nn.functional.pad(x, [0, 8 - x.size(3) % 8]);

    // what is done to products of queries and keys
    readonly record struct Scores(double Scale, int? Window, int Sinks, double? Softcap);

    static Tensor Apply(Tensor query, Tensor key, Tensor value, Tensor? sinkLogits, Scores scores, Tensor? bounds) =>
        Autograd.Apply([query, key, value, sinkLogits],
        context =>
        {
            var call = new Call(query, key, value, sinkLogits, scores, bounds);
            var output = CudaMemory.New(query, ScalarType.BFloat16, query.size(0), query.size(1), query.size(2), value.size(3));
            var logarithms = context.NeedsGradient ? CudaMemory.New(query, ScalarType.Float32, query.size(0), query.size(2),
                Rounded(query.size(1), 128)) : null;
            call.Forward(output, logarithms);
            context.Save(query, key, value, output, logarithms, bounds, call.Ranges, sinkLogits);
            return [output];
        },
        context =>
        {
            var saved = new Saved(context.Saved);
            var call = new Call(saved.Query, saved.Key, saved.Value, saved.SinkLogits, scores, saved.Bounds) { Ranges = saved.Ranges };
            var (dQuery, dKey, dValue) = (CudaMemory.NewLike(saved.Query), CudaMemory.NewLike(saved.Key), CudaMemory.NewLike(saved.Value));
            using var delta = call.Backward(context.Gradients[0]!.to(ScalarType.BFloat16), saved.Output, saved.Logarithms, dQuery, dKey, dValue);
            return [dQuery, dKey, dValue, context.Needs(3) ? SinkGradient(saved.SinkLogits!, saved.Logarithms, delta) : null];
        })[0];

    // A sink logit has no value: the slope of its probability p is -delta, and so is the slope of the logit -p delta, summed over rows and queries.
    static Tensor SinkGradient(Tensor sinkLogits, Tensor logarithms, Tensor delta)
    {
        using var scope = NewDisposeScope();
        var logits = sinkLogits.to(ScalarType.Float32).mul(Log2E).reshape(1, -1, 1);
        var probabilities = (logits - logarithms).exp2();
        return probabilities.mul(delta.reshape(logarithms.shape)).sum([0L, 2L]).neg().to(sinkLogits.dtype).MoveToOuterDisposeScope();
    }

    static readonly Scalar Log2E = (1 / Math.Log(2)).ToScalar();

    static long Rounded(long number, long to) => (number + to - 1) / to * to;

    readonly struct Saved(IReadOnlyList<Tensor?> tensors)
    {
        public Tensor Query => tensors[0]!;
        public Tensor Key => tensors[1]!;
        public Tensor Value => tensors[2]!;
        public Tensor Output => tensors[3]!;
        public Tensor Logarithms => tensors[4]!;
        public Tensor? Bounds => tensors[5];
        public Tensor? Ranges => tensors[6];
        public Tensor? SinkLogits => tensors[7];
    }

    // What the launches of one call share.
    sealed class Call
    {
        readonly CudaDevice device;
        readonly AttentionShape shape;
        readonly Tensor query, key, value;
        readonly Tensor? bounds, sinkLogits;
        readonly AttentionArguments start;

        public Call(Tensor query, Tensor key, Tensor value, Tensor? sinkLogits, Scores scores, Tensor? bounds)
        {
            device = CudaRuntime.DeviceOf(query);
            shape = AttentionShape.For(query.size(3), value.size(3), scores.Sinks > 0, scores.Softcap is not null, device.SharedMemory);
            this.sinkLogits = CudaMemory.Float32(sinkLogits);
            (this.query, this.key, this.value, this.bounds) = (Mappable(query), Mappable(key), Mappable(value), bounds);
            start = new()
            {
                Query = Map(this.query), Key = Map(this.key), Value = Map(this.value), Bounds = CudaMemory.Address(bounds),
                Batch = query.size(0), Queries = query.size(1), Keys = key.size(1), Heads = query.size(2), KeyHeads = key.size(2),
                DQuerySize = query.size(3), ValueSize = value.size(3), Window = Math.Min(scores.Window ?? Unbounded, Unbounded),
                Sinks = Math.Min(scores.Sinks, Unbounded), SinkLogits = CudaMemory.Address(this.sinkLogits), Scale = (float)scores.Scale,
                ScaleLog2 = (float)(scores.Scale / Math.Log(2)), Cap = (float)(scores.Scale / (scores.Softcap ?? 1)),
                CapLog2 = (float)((scores.Softcap ?? 0) / Math.Log(2)),
            };
        }

        /// <summary>
        /// (batch, blocks of 64 queries, 6) whole numbers, in memory said to be float32, which is all the same: what of the keys a block of queries
        /// sees; null without bounds.
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
            // counters and block numbers: whole numbers in memory said to be float32
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

        // Blocks of one head add to the same sums one after another: with few heads at work at a time the sums stay in the second-level cache.
        // Windows and documents touch each part of them but a few times.
        long Together()
        {
            long lines = start.Batch * start.KeyHeads;
            if (bounds is not null || start.Window < Unbounded) return lines;
            long bytes = start.Heads / start.KeyHeads * start.Queries * start.DQuerySize * sizeof(float);
            return Math.Clamp(SumsAtATime / bytes, Math.Min(4, lines), lines);
        }

        void Launch(string source, string kernel, (long X, long Y, long Z) grid, int threads, int shared, in AttentionArguments arguments)
        {
            device.Launch(source, "attention_" + kernel, grid, threads, shared, arguments);
            GC.KeepAlive((query, key, value, bounds, Ranges, sinkLogits));
        }

        CudaTensorMap Map(Tensor x)
        {
            // where there is but one of something, its stride means nothing
            long head = x.size(2) == 1 ? x.size(3) : x.stride(2), token = x.size(1) == 1 ? head * x.size(2) : x.stride(1), row = x.size(0) == 1
                ? token * x.size(1) : x.stride(0);
            return device.TensorMap(CudaMemory.Address(x), (x.size(0), x.size(1), x.size(2), x.size(3)),
                (row * sizeof(ushort), token * sizeof(ushort), head * sizeof(ushort)));
        }

        // as the copy engine takes a tensor: a head's elements without gaps, all else in steps of 16 bytes that are not 0
        static Tensor Mappable(Tensor x)
        {
            bool Step(int dimension) => x.size(dimension) == 1 || (x.stride(dimension) > 0 && x.stride(dimension) % 8 == 0);
            bool fits = (x.size(3) == 1 || x.stride(3) == 1) && Step(0) && Step(1) && Step(2) && CudaMemory.Address(x) % 16 == 0;
            return fits ? x : x.is_contiguous() ? x.clone() : x.contiguous();
        }
    }
}
