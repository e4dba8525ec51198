using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

// the forward pass
sealed unsafe partial class SelectiveScanTask<TElement>
{
    public void Forward(Tensor output, Tensor final, Tensor? initial, Tensor? kept)
    {
        byte* y = (byte*)TensorMemory.Pointer(output);
        float* end = CpuRows.Pointer(final), begin = CpuRows.Pointer(initial), saved = CpuRows.Pointer(kept);
        CpuTasks.Run(batch * groups * Blocks, Work, task => ForwardTask(task, y, end, begin, saved));
        GC.KeepAlive((output, final, initial, kept, roots));
    }

    void ForwardTask(long task, byte* output, float* final, float* initial, float* kept)
    {
        using var scratch = new CpuTasks.Scratch(PlaceFloats);
        var item = Begin(task, scratch.Memory);
        long stateAt = (item.Row * channels + item.First) * states, size = (long)block * states;
        Gather(initial == null ? null : initial + stateAt, item.Count, 1, item.Running);
        for (long from = 0; from < item.Length; from += Piece)
        {
            int tokens = (int)Math.Min(Piece, item.Length - from);
            if (kept != null)
                Unsafe.CopyBlockUnaligned(kept + (task * Pieces + from / Piece) * size, item.Running,
                    (uint)(item.Vectors * Lanes * states * sizeof(float)));
            Load(item, from, tokens);
            long token = (item.Row * length + from) * groups + item.Group;
            for (int v = 0; v < item.Vectors; v++)
                if (Bounded(item, v)) ScanVector<BoundedExponent>(item, v, from, tokens, B + token * states, C + token * states);
                else ScanVector<AnyExponent>(item, v, from, tokens, B + token * states, C + token * states);
            Store<WholeVectors>(item, from, tokens, 0, item.Whole, output);
            if (item.Whole < item.Vectors) Store<PartOfVector>(item, from, tokens, item.Whole, item.Vectors, output);
        }
        Scatter(item.Running, item.Count, final + stateAt);
        for (long t = item.Length; t < length; t++) Clear(output, item, t);
    }

    void Clear(byte* rows, in WorkItem item, long t) =>
        Unsafe.InitBlockUnaligned(rows + ((item.Row * length + t) * channels + item.First) * TElement.Size, 0, (uint)(item.Count * TElement.Size));

    // processes eight channels of a piece: state and y
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    void ScanVector<TExponent>(in WorkItem item, int v, long from, int tokens, float* B, float* C) where TExponent : struct, IExponent
    {
        float* rates = item.Rates + v * states * Lanes, h = item.Running + v * states * Lanes;
        float* dt = item.Dt + v * Lanes, input = item.Input + v * Lanes, output = item.Output + v * Lanes;
        int count = states, wide = block;
        long between = groups * states, next = Math.Min(from + Piece, item.Length - tokens), time = (v & 1) == 0 ? xToken : dtToken;
        byte* ahead = Ahead((v & 1) == 0 ? InputAt(item, next) : DtAt(item, next), v);
        for (int i = 0; i < tokens; i++, B += between, C += between, ahead += time)
        {
            Prefetch(ahead);
            if (Starts(item, from + i)) new Span<float>(h, count * Lanes).Clear();
            var (step, added) = (Vector256.Load(dt + i * wide), Vector256.Load(input + i * wide));
            Vector256<float> even = default, odd = default;
            int n = 0;
            for (; n + 2 <= count; n += 2)
            {
                float* at = h + n * Lanes, rate = rates + n * Lanes;
                var first = Vector256.MultiplyAddEstimate(
                    TExponent.Exp2(step, Vector256.Load(rate)), Vector256.Load(at), added * Vector256.Create(B[n]));
                var second = Vector256.MultiplyAddEstimate(TExponent.Exp2(step, Vector256.Load(rate + Lanes)), Vector256.Load(at + Lanes),
                    added * Vector256.Create(B[n + 1]));
                first.Store(at);
                second.Store(at + Lanes);
                even = Vector256.MultiplyAddEstimate(first, Vector256.Create(C[n]), even);
                odd = Vector256.MultiplyAddEstimate(second, Vector256.Create(C[n + 1]), odd);
            }
            if (n < count)
            {
                float* at = h + n * Lanes;
                var last = Vector256.MultiplyAddEstimate(TExponent.Exp2(step, Vector256.Load(rates + n * Lanes)), Vector256.Load(at),
                    added * Vector256.Create(B[n]));
                last.Store(at);
                even = Vector256.MultiplyAddEstimate(last, Vector256.Create(C[n]), even);
            }
            (even + odd).Store(output + i * wide);
        }
    }
}
