using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>What the row kernels compute with: vectors of eight, the rest of a row as one more vector padded with zeros, and functions good to about one unit in the last place.</summary>
static unsafe class RowMath
{
    public const int Lanes = 8;

    /// <summary>As a count: whole vectors only, without a test.</summary>
    public const long Unbounded = long.MaxValue;

    struct Part
    {
        public Vector256<float> Values;
    }

    // The rest of a row goes through these by single elements, inlined: a call in a loop would spill every vector register.

    /// <summary>Elements from <paramref name="index"/>, zeros past <paramref name="count"/>: an element gives the same result wherever in a vector it stands.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load<TElement>(byte* row, long index, long count) where TElement : struct, IElement
    {
        if (index + Lanes <= count) return TElement.Load(row, index);
        Part part = default;
        for (long i = index; i < count; i++) TElement.Copy(row, i, (byte*)&part, i - index);
        return TElement.Load((byte*)&part, 0);
    }

    /// <summary>Writes as many elements as the row of <paramref name="count"/> has from <paramref name="index"/> on, at most eight.</summary>
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
