using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Whether a loop over a row handles whole vectors or the part of one at its end. Two instances of one loop, so that the one for whole vectors holds no call
/// for the rest: a call in a loop, even one never taken, has all vectors pushed out of their registers.
/// </summary>
unsafe interface IVectorWidth
{
    static abstract Vector256<float> Load<TElement>(byte* row, long index, long end) where TElement : struct, IElement;

    static abstract void Store<TElement>(byte* row, long index, long end, Vector256<float> values) where TElement : struct, IElement;
}

/// <summary>Eight elements at a time.</summary>
readonly unsafe struct WholeVectors : IVectorWidth
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load<TElement>(byte* row, long index, long end) where TElement : struct, IElement => TElement.Load(row, index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TElement>(byte* row, long index, long end, Vector256<float> values) where TElement : struct, IElement =>
        TElement.Store(row, index, values);
}

/// <summary>Fewer than eight elements, up to the row's end.</summary>
readonly unsafe struct PartOfVector : IVectorWidth
{
    public static Vector256<float> Load<TElement>(byte* row, long index, long end) where TElement : struct, IElement => RowMath.Load<TElement>(row, index, end);

    public static void Store<TElement>(byte* row, long index, long end, Vector256<float> values) where TElement : struct, IElement =>
        RowMath.Store<TElement>(row, index, end, values);
}
