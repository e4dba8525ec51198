using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Computes attention of a few queries per row over a cache, which is read once and in place. The positions of a row are divided into parts of 512,
/// which are tasks, and these into blocks of 64 with an online softmax (arXiv 1805.02867). Both are counted from position 0 and parts are added in
/// order. So the result of a query depends neither on other queries and rows, nor on the capacity and the number of threads.
/// </summary>
static unsafe class AttentionDecodeCpu
{
    const int PartLength = 512, BlockLength = 64, CacheLine = 64;
    const int OperationsPerElement = 8;         // a multiply-add is less work than an element in CpuTasks, by this factor

    public static Tensor Forward(AttentionDecodeInputs inputs)
    {
        using var scope = NewDisposeScope();
        var query = inputs.Query;
        var output = CpuRows.New(query.dtype, query.size(0), query.size(1), query.size(2), inputs.Values.size(3));
        if (query.dtype == ScalarType.BFloat16) new Call<BFloat16Element>(inputs, output).Run();
        else new Call<Float32Element>(inputs, output).Run();
        return output.MoveToOuterDisposeScope();
    }

    static long RoundedUp(long size) => (size + RowMath.Lanes - 1) / RowMath.Lanes * RowMath.Lanes;

    // a part of the positions of a row
    readonly record struct Part(int Row, long First);

    // The state of a query and head in a part: the maximum of its scores, the sum of the exponentials, and the sum of the weighted values.
    sealed class Call<TElement> where TElement : struct, IElement
    {
        readonly AttentionDecodeInputs inputs;
        readonly Tensor query, keys, values, lengths, output;
        readonly Tensor? logits;
        readonly HeadRows queryHeads, keyHeads, valueHeads;
        readonly long queries, heads, sets, group, capacity, size, valueSize, paddedSize, stateSize;
        readonly float scale, cap;
        readonly int* lengthOf;

        public Call(AttentionDecodeInputs inputs, Tensor output)
        {
            (this.inputs, this.output) = (inputs, output);
            (query, keys, values) = (Dense(inputs.Query), Dense(inputs.Keys), Dense(inputs.Values));
            lengths = inputs.Lengths.contiguous();
            lengthOf = (int*)TensorMemory.Pointer(lengths);
            logits = CpuRows.Whole(inputs.SinkLogits);
            (queryHeads, keyHeads, valueHeads) = (new(query), new(keys), new(values));
            (queries, heads, sets, capacity) = (query.size(1), query.size(2), keys.size(2), keys.size(1));
            (group, size, valueSize) = (heads / sets, query.size(3), values.size(3));
            (paddedSize, stateSize) = (RoundedUp(size), RowMath.Lanes + RoundedUp(valueSize));
            (scale, cap) = ((float)inputs.Scale, (float)(inputs.Softcap ?? 0));
        }

        static Tensor Dense(Tensor x) => x.stride(3) == 1 || x.size(3) == 1 ? x : x.contiguous();

        public void Run()
        {
            var parts = Parts();
            long tokens = 0;
            foreach (var part in parts) tokens += Math.Min(PartLength, LengthOf(part.Row) - part.First);
            using var states = new CpuTasks.Scratch(Math.Max(1, parts.Count * heads * queries * stateSize));
            float* memory = states.Memory;
            CpuTasks.Run(parts.Count * sets, tokens * heads * queries * (size + valueSize) / OperationsPerElement,
                task => Attend(parts[(int)(task / sets)], task % sets, memory + task * group * queries * stateSize));
            Combine(parts, memory);
            GC.KeepAlive((query, keys, values));
            GC.KeepAlive((lengths, logits, output));
        }

        long LengthOf(int row) => inputs.Ring ? lengthOf[row] : Math.Min(lengthOf[row], capacity);

        // the parts that contain a position that a query sees, row by row
        List<Part> Parts()
        {
            var parts = new List<Part>();
            for (int row = 0; row < query.size(0); row++)
            {
                long length = LengthOf(row), first = FirstInWindow(Math.Max(0, length - queries)), sinks = Math.Min(length, inputs.Sinks);
                for (long from = 0; from < length; from += PartLength)
                    if (from < sinks || from + PartLength > first) parts.Add(new(row, from));
            }
            return parts;
        }

        long FirstInWindow(long position) => inputs.Window is { } window ? Math.Max(0, position - window + 1) : 0;

        // one part, for the query heads of one key head
        void Attend(Part part, long set, float* states)
        {
            using var scratch = new CpuTasks.Scratch(group * queries * paddedSize + BlockLength);
            float* vectors = scratch.Memory, scores = vectors + group * queries * paddedSize;
            for (long index = 0; index < group * queries; index++)
            {
                new Span<float>(states + index * stateSize, (int)stateSize).Clear();
                states[index * stateSize] = float.NegativeInfinity;
                Read(queryHeads.At<TElement>(part.Row, index % queries, set * group + index / queries), vectors + index * paddedSize);
            }
            long length = LengthOf(part.Row), end = Math.Min(length, part.First + PartLength);
            var block = new Block(keyHeads.At<TElement>(part.Row, 0, set), valueHeads.At<TElement>(part.Row, 0, set), scores);
            long* slots = stackalloc long[BlockLength];
            for (long from = part.First; from < end; from += BlockLength)
            {
                int count = (int)Math.Min(BlockLength, end - from);
                for (int i = 0; i < count; i++) slots[i] = SlotOf(from + i);
                for (long next = from + BlockLength, last = Math.Min(end, next + BlockLength); next < last; next++) Prefetch(block, SlotOf(next));
                for (long index = 0; index < group * queries; index++)
                {
                    long position = length - queries + index % queries;
                    int to = (int)Math.Clamp(position + 1 - from, 0, count), seen = (int)Math.Clamp(FirstInWindow(position) - from, 0, to),
                        sinks = (int)Math.Clamp(inputs.Sinks - from, 0, seen);
                    float* vector = vectors + index * paddedSize, state = states + index * stateSize;
                    if (sinks > 0) Add(block, slots, sinks, vector, state);
                    if (seen < to) Add(block, slots + seen, to - seen, vector, state);
                }
            }
        }

        // the first key and value of a row and head, and memory for the scores of a block
        readonly struct Block(byte* keys, byte* values, float* scores)
        {
            public byte* Keys => keys;

            public byte* Values => values;

            public float* Scores => scores;
        }

        // rows of a head are far apart, which the hardware does not prefetch
        void Prefetch(Block block, long slot)
        {
            if (!Sse.IsSupported) return;
            byte* key = block.Keys + slot * keyHeads.TokenBytes<TElement>(), value = block.Values + slot * valueHeads.TokenBytes<TElement>();
            for (long i = 0; i < size * TElement.Size; i += CacheLine) Sse.Prefetch1(key + i);
            for (long i = 0; i < valueSize * TElement.Size; i += CacheLine) Sse.Prefetch1(value + i);
        }

        long SlotOf(long position) => !inputs.Ring || position < inputs.Sinks ? position
            : inputs.Sinks + (position - inputs.Sinks) % (capacity - inputs.Sinks);

        // scaled, padded with zeros
        void Read(byte* from, float* to)
        {
            var factor = Vector256.Create(scale);
            for (long i = 0; i < paddedSize; i += RowMath.Lanes) (RowMath.Load<TElement>(from, i, size) * factor).Store(to + i);
        }

        // keys and values of some slots to the state of a query
        void Add(Block block, long* slots, int count, float* vector, float* state)
        {
            float* scores = block.Scores;
            long stride = keyHeads.TokenBytes<TElement>();
            for (int i = 0; i < count; i += 4) Dots<TElement>(vector, block.Keys, stride, slots + i, count - i, scores + i, size);
            if (cap > 0)
                for (int i = 0; i < count; i++) scores[i] = cap * MathF.Tanh(scores[i] / cap);
            float maximum = state[0];
            for (int i = 0; i < count; i++) maximum = MathF.Max(maximum, scores[i]);
            float factor = state[0] == maximum ? 1 : MathF.Exp(state[0] - maximum);
            (state[0], state[1]) = (maximum, state[1] * factor + Exponentials(scores, count, maximum));
            Accumulate<TElement>(block.Values, valueHeads.TokenBytes<TElement>(), slots, scores, count, factor, state + RowMath.Lanes, valueSize);
        }

        // the outputs, from the states of all parts of their rows
        void Combine(List<Part> parts, float* states)
        {
            byte* target = (byte*)TensorMemory.Pointer(output);
            float* sink = CpuRows.Pointer(logits);
            long rowStates = heads * queries;
            for (int row = 0, part = 0; row < query.size(0); row++)
            {
                int first = part;
                while (part < parts.Count && parts[part].Row == row) part++;
                for (long index = 0; index < rowStates; index++)
                {
                    // in the order of the tasks: head, query
                    var (head, at) = (index / queries, index % queries);
                    byte* to = target + ((row * queries + at) * heads + head) * valueSize * TElement.Size;
                    Combine(states + (first * rowStates + index) * stateSize, part - first, rowStates * stateSize,
                        sink == null ? float.NegativeInfinity : sink[head], to);
                }
            }
        }

        void Combine(float* states, int count, long stride, float logit, byte* to)
        {
            float maximum = float.NegativeInfinity, sum = 0;
            for (int i = 0; i < count; i++) maximum = MathF.Max(maximum, states[i * stride]);
            bool sees = !float.IsNegativeInfinity(maximum);
            maximum = MathF.Max(maximum, logit);
            for (int i = 0; i < count; i++) sum += states[i * stride + 1] * Weight(states[i * stride], maximum);
            if (!float.IsNegativeInfinity(logit)) sum += MathF.Exp(logit - maximum);
            for (long e = 0; e < valueSize; e += RowMath.Lanes)
            {
                var total = Vector256<float>.Zero;
                for (int i = 0; i < count; i++)
                    total += Vector256.Load(states + i * stride + RowMath.Lanes + e) * Vector256.Create(Weight(states[i * stride], maximum));
                RowMath.Store<TElement>(to, e, valueSize, sees ? total / Vector256.Create(sum) : total);
            }
        }

        // a part without visible keys has the maximum -infinity
        static float Weight(float maximum, float total) => maximum == total ? 1 : MathF.Exp(maximum - total);
    }

    // the scores of up to four slots
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Dots<TElement>(float* vector, byte* keys, long stride, long* slots, int count, float* scores, long size)
        where TElement : struct, IElement
    {
        int last = count - 1;
        byte* k0 = keys + slots[0] * stride, k1 = keys + slots[Math.Min(1, last)] * stride, k2 = keys + slots[Math.Min(2, last)] * stride,
            k3 = keys + slots[Math.Min(3, last)] * stride;
        Vector256<float> a = default, b = default, c = default, d = default;
        long i = 0;
        for (; i + RowMath.Lanes <= size; i += RowMath.Lanes)
        {
            var x = Vector256.Load(vector + i);
            a = Vector256.MultiplyAddEstimate(TElement.Load(k0, i), x, a);
            b = Vector256.MultiplyAddEstimate(TElement.Load(k1, i), x, b);
            c = Vector256.MultiplyAddEstimate(TElement.Load(k2, i), x, c);
            d = Vector256.MultiplyAddEstimate(TElement.Load(k3, i), x, d);
        }
        if (i < size)
        {
            var x = Vector256.Load(vector + i);
            a = Vector256.MultiplyAddEstimate(RowMath.Load<TElement>(k0, i, size), x, a);
            b = Vector256.MultiplyAddEstimate(RowMath.Load<TElement>(k1, i, size), x, b);
            c = Vector256.MultiplyAddEstimate(RowMath.Load<TElement>(k2, i, size), x, c);
            d = Vector256.MultiplyAddEstimate(RowMath.Load<TElement>(k3, i, size), x, d);
        }
        var sums = Sums(a, b, c, d);
        if (count >= 4) sums.Store(scores);
        else for (int j = 0; j < count; j++) scores[j] = sums[j];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> Sums(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d)
    {
        if (!Avx.IsSupported) return Vector128.Create(Vector256.Sum(a), Vector256.Sum(b), Vector256.Sum(c), Vector256.Sum(d));
        var halves = Avx.HorizontalAdd(Avx.HorizontalAdd(a, b), Avx.HorizontalAdd(c, d));
        return halves.GetLower() + halves.GetUpper();
    }

    // replaces scores by e^(score - maximum), and returns their sum
    static float Exponentials(float* scores, int count, float maximum)
    {
        var (sum, shift) = (Vector256<float>.Zero, Vector256.Create(maximum));
        for (int i = 0; i < count; i += RowMath.Lanes)
        {
            var weights = VectorMath.Exp(RowMath.Load<Float32Element>((byte*)scores, i, count) - shift);
            if (i + RowMath.Lanes > count)
                weights = Vector256.ConditionalSelect(Vector256.LessThan(Vector256<float>.Indices, Vector256.Create((float)(count - i))), weights,
                    Vector256<float>.Zero);
            RowMath.Store<Float32Element>((byte*)scores, i, count, weights);
            sum += weights;
        }
        return Vector256.Sum(sum);
    }

    // sums = factor * sums + the values of the slots times their weights
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Accumulate<TElement>(byte* values, long stride, long* slots, float* weights, int count, float factor, float* sums, long size)
        where TElement : struct, IElement
    {
        var scale = Vector256.Create(factor);
        long e = 0;
        for (; e + 32 <= size; e += 32)
        {
            Vector256<float> a = Vector256.Load(sums + e) * scale, b = Vector256.Load(sums + e + 8) * scale,
                c = Vector256.Load(sums + e + 16) * scale, d = Vector256.Load(sums + e + 24) * scale;
            for (int i = 0; i < count; i++)
            {
                byte* row = values + slots[i] * stride;
                var weight = Vector256.Create(weights[i]);
                a = Vector256.MultiplyAddEstimate(TElement.Load(row, e), weight, a);
                b = Vector256.MultiplyAddEstimate(TElement.Load(row, e + 8), weight, b);
                c = Vector256.MultiplyAddEstimate(TElement.Load(row, e + 16), weight, c);
                d = Vector256.MultiplyAddEstimate(TElement.Load(row, e + 24), weight, d);
            }
            a.Store(sums + e);
            b.Store(sums + e + 8);
            c.Store(sums + e + 16);
            d.Store(sums + e + 24);
        }
        for (; e < size; e += 8)
        {
            var a = Vector256.Load(sums + e) * scale;
            for (int i = 0; i < count; i++)
                a = Vector256.MultiplyAddEstimate(RowMath.Load<TElement>(values + slots[i] * stride, e, size), Vector256.Create(weights[i]), a);
            a.Store(sums + e);
        }
    }
}
