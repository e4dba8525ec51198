using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Rotates the new queries and keys of a decoding step, and writes keys and values to the cache, in one pass.</summary>
static unsafe class CacheAppendCpu
{
    /// <summary>Returns the rotated queries. The parameters are those of <see cref="Operators.CacheAppend.Forward"/>.</summary>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, CacheTarget target)
    {
        using var scope = NewDisposeScope();
        (query, key, value) = (Dense(query), Dense(key), Dense(value));
        if (target.Table is { } table) target = target with { Table = (table.Cosine.contiguous(), table.Sine.contiguous()) };
        var turned = CpuRows.New(query.dtype, query.size(0), query.size(1), query.size(2), query.size(3));
        if (query.dtype == ScalarType.BFloat16) Append<BFloat16Element>(query, key, value, turned, target);
        else Append<Float32Element>(query, key, value, turned, target);
        return turned.MoveToOuterDisposeScope();
    }

    /// <summary>Returns whether the kernel can write to the cache: heads without gaps.</summary>
    public static bool Serves(CacheTarget target) => target.Keys.stride(3) == 1 && target.Values.stride(3) == 1;

    static Tensor Dense(Tensor x) => x.size(3) == 1 || x.stride(3) == 1 ? x : x.contiguous();

    static void Append<TElement>(Tensor query, Tensor key, Tensor value, Tensor turned, CacheTarget target) where TElement : struct, IElement
    {
        long length = query.size(1), heads = query.size(2) + 2 * key.size(2);
        var call = new Call<TElement>(query, key, value, turned, target);
        // tokens of a row may share a slot, in which the last one stays
        CpuTasks.Share(query.size(0), length * heads * query.size(3), (from, to) =>
        {
            for (long row = from; row < to; row++)
                for (long token = 0; token < length; token++) call.Token(row, token);
        });
        GC.KeepAlive((query, key, value));
        GC.KeepAlive((turned, target));
    }

    sealed class Call<TElement> where TElement : struct, IElement
    {
        readonly HeadRows from, fromKeys, fromValues, turned, keys, values;
        readonly CacheTarget target;
        readonly long length, slots, half, places;
        readonly float* cosines, sines;
        readonly int* lengths;
        readonly long* positions;
        readonly long positionRow, positionSlot;

        public Call(Tensor query, Tensor key, Tensor value, Tensor turned, CacheTarget target)
        {
            (from, fromKeys, fromValues, this.turned) = (new(query), new(key), new(value), new(turned));
            (keys, values, this.target) = (new(target.Keys), new(target.Values), target);
            (length, slots) = (query.size(1), target.Keys.size(1));
            lengths = (int*)TensorMemory.Pointer(target.Lengths);
            if (target.Table is { } table)
            {
                (places, half) = (table.Cosine.size(0), table.Cosine.size(1));
                cosines = (float*)TensorMemory.Pointer(table.Cosine);
                sines = (float*)TensorMemory.Pointer(table.Sine);
            }
            if (target.Positions is { } stored)
            {
                positions = (long*)TensorMemory.Pointer(stored);
                (positionRow, positionSlot) = (stored.stride(0), stored.stride(1));
            }
        }

        public void Token(long row, long token)
        {
            long position = lengths[row] - length + token, place = Math.Clamp(position, 0, Math.Max(0, places - 1));
            Turn(from, turned, row, token, token, place);
            long slot = target.Window == 0 || position < target.Sinks ? position : target.Sinks + (position - target.Sinks) % target.Window;
            if (position < 0 || slot >= slots) return;
            Turn(fromKeys, keys, row, token, slot, place);
            for (long head = 0; head < values.Heads; head++)
                Copy(fromValues.At<TElement>(row, token, head), values.At<TElement>(row, slot, head), values.Size * TElement.Size);
            if (positions != null) positions[row * positionRow + slot * positionSlot] = position;
        }

        void Turn(in HeadRows from, in HeadRows to, long row, long token, long toToken, long place)
        {
            for (long head = 0; head < from.Heads; head++)
                RotaryKernel.Head<TElement>(from.At<TElement>(row, token, head), to.At<TElement>(row, toToken, head), from.Size,
                    cosines + place * half, sines + place * half, half);
        }

        static void Copy(byte* from, byte* to, long bytes) => Buffer.MemoryCopy(from, to, bytes, bytes);
    }
}
