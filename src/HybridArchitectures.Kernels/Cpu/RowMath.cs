using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>What the row kernels compute with: vectors of eight, the rest of a row as one more vector padded with zeros, and functions good to about one unit in the last place.</summary>
static unsafe class RowMath
{
    public const int Lanes = 8;

    /// <summary>Elements from <paramref name="index"/>, zeros past <paramref name="count"/>: an element gives the same result wherever in a vector it stands.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load<TElement>(byte* row, long index, long count) where TElement : struct, IElement =>
        index + Lanes <= count ? TElement.Load(row, index) : LoadPart<TElement>(row, index, count);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TElement>(byte* row, long index, long count, Vector256<float> values) where TElement : struct, IElement
    {
        if (index + Lanes <= count) TElement.Store(row, index, values);
        else StorePart<TElement>(row, index, count, values);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static Vector256<float> LoadPart<TElement>(byte* row, long index, long count) where TElement : struct, IElement
    {
        byte* part = stackalloc byte[Lanes * sizeof(float)];
        new Span<byte>(part, Lanes * sizeof(float)).Clear();
        Buffer.MemoryCopy(row + index * TElement.Size, part, Lanes * sizeof(float), (count - index) * TElement.Size);
        return TElement.Load(part, 0);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void StorePart<TElement>(byte* row, long index, long count, Vector256<float> values) where TElement : struct, IElement
    {
        byte* part = stackalloc byte[Lanes * sizeof(float)];
        TElement.Store(part, 0, values);
        Buffer.MemoryCopy(part, row + index * TElement.Size, (count - index) * TElement.Size, (count - index) * TElement.Size);
    }

    /// <summary>e^x: infinity above 88.73, 0 below -104, NaN for NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x)
    {
        // the second operand wins where one is NaN
        x = Vector256.MinNative(Vector256.Create(89f), Vector256.MaxNative(Vector256.Create(-104f), x));
        var n = Vector256.Round(x * Vector256.Create(1.44269504f));
        // x - n ln 2, with ln 2 in two parts
        var r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-0.693145752f), x);
        r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-1.42860677e-6f), r);
        // Taylor series on [-ln 2 / 2, ln 2 / 2]: the first term left out is below 2^-27
        var p = Vector256.FusedMultiplyAdd(r, Vector256.Create(1f / 5040), Vector256.Create(1f / 720));
        p = Vector256.FusedMultiplyAdd(r, p, Vector256.Create(1f / 120));
        p = Vector256.FusedMultiplyAdd(r, p, Vector256.Create(1f / 24));
        p = Vector256.FusedMultiplyAdd(r, p, Vector256.Create(1f / 6));
        p = Vector256.FusedMultiplyAdd(r, p, Vector256.Create(0.5f));
        p = Vector256.FusedMultiplyAdd(r, p, Vector256<float>.One);
        p = Vector256.FusedMultiplyAdd(r, p, Vector256<float>.One);
        // 2^n in two factors, as n may be past what one exponent holds
        var whole = Vector256.ConvertToInt32Native(n);
        var half = whole >> 1;
        return p * PowerOfTwo(half) * PowerOfTwo(whole - half);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> PowerOfTwo(Vector256<int> n) => ((n + Vector256.Create(127)) << 23).AsSingle();

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Sigmoid(Vector256<float> x) => Vector256<float>.One / (Vector256<float>.One + Exp(-x));

    /// <summary>The derivative of x sigmoid(x), given sigmoid(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SiluSlope(Vector256<float> x, Vector256<float> sigmoid) =>
        sigmoid * Vector256.FusedMultiplyAdd(x, Vector256<float>.One - sigmoid, Vector256<float>.One);
}
