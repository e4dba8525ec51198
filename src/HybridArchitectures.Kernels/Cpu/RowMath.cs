using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Processes rows as vectors of eight. The rest at the end of a row is one more vector, padded with zeros.</summary>
static unsafe class RowMath
{
    public const int Lanes = 8;

    struct Part
    {
        public Vector256<float> Values;
    }

    // The rest of a row is processed element by element by these methods, which are inlined: a call in a loop would spill all vector registers.

    /// <summary>
    /// Returns elements from <paramref name="index"/>, and zeros after <paramref name="count"/>. An element has the same result at every index of a
    /// vector.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load<TElement>(byte* row, long index, long count) where TElement : struct, IElement
    {
        if (index + Lanes <= count) return TElement.Load(row, index);
        Part part = default;
        for (long i = index; i < count; i++) TElement.Copy(row, i, (byte*)&part, i - index);
        return TElement.Load((byte*)&part, 0);
    }

    /// <summary>
    /// Writes at most eight elements: as many as the row of <paramref name="count"/> elements has from <paramref name="index"/> on.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TElement>(byte* row, long index, long count, Vector256<float> values) where TElement : struct, IElement
    {
        if (index + Lanes <= count)
        {
            TElement.Store(row, index, values);
            return;
        }
        Part part;
        TElement.Store((byte*)&part, 0, values);
        for (long i = index; i < count; i++) TElement.Copy((byte*)&part, i - index, row, i);
    }
}
