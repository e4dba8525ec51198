using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Selects one of two instances of a loop over a row: whole vectors, or the partial vector at its end. The instance for whole vectors then contains
/// no call for the rest. A call in a loop, even one that is never executed, forces all vectors out of their registers.
/// </summary>
unsafe interface IVectorWidth
{
    static abstract Vector256<float> Load<TElement>(byte* row, long index, long end) where TElement : struct, IElement;

    static abstract void Store<TElement>(byte* row, long index, long end, Vector256<float> values) where TElement : struct, IElement;
}

/// <summary>Processes eight elements at a time.</summary>
readonly unsafe struct WholeVectors : IVectorWidth
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load<TElement>(byte* row, long index, long end) where TElement : struct, IElement => TElement.Load(row, index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TElement>(byte* row, long index, long end, Vector256<float> values) where TElement : struct, IElement =>
        TElement.Store(row, index, values);
}

/// <summary>Processes fewer than eight elements, up to the end of the row.</summary>
readonly unsafe struct PartOfVector : IVectorWidth
{
    public static Vector256<float> Load<TElement>(byte* row, long index, long end) where TElement : struct, IElement =>
        RowMath.Load<TElement>(row, index, end);

    public static void Store<TElement>(byte* row, long index, long end, Vector256<float> values) where TElement : struct, IElement =>
        RowMath.Store<TElement>(row, index, end, values);
}
