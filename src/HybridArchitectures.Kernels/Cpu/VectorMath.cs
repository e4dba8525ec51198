using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Elementary functions on eight floats, to about 1 unit in the last place, without tables or branches.</summary>
static class VectorMath
{
    /// <summary>e^x, for decays: below -87.3 it stays at the smallest normal number and above 88.3 at the value there, which spares half of
    /// <see cref="RowMath.Exp"/>'s scaling. NaN stays NaN.</summary>
    /// <remarks>x = n ln 2 + r with |r| at most ln 2 / 2; ln 2 in two parts, the first short enough that n times it is exact; e^r by its Taylor sum
    /// to r^7.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x)
    {
        x = Vector256.MinNative(Vector256.Create(88.3f), Vector256.MaxNative(Vector256.Create(-87.3f), x));     // the second operand wins where one is NaN
        var n = Vector256.Round(x * Vector256.Create(1.44269504f));
        var r = Vector256.MultiplyAddEstimate(n, Vector256.Create(-0.693359375f), x);
        r = Vector256.MultiplyAddEstimate(n, Vector256.Create(2.12194440e-4f), r);
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(1 / 5040f), r, Vector256.Create(1 / 720f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(1 / 120f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(1 / 24f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(1 / 6f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.5f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256<float>.One);
        p = Vector256.MultiplyAddEstimate(p, r, Vector256<float>.One);
        return (p.AsInt32() + (Vector256.ConvertToInt32Native(n) << 23)).AsSingle();
    }

    /// <summary>2^x, the same way: what a scan over diagonal states spends its time on.</summary>
    /// <remarks>x = n + r with |r| at most 1/2; 2^r by its Taylor sum to r^6, whose rest is below 2^-22.9; one instruction scales by 2^n where the
    /// processor has it.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> x)
    {
        if (!Avx512F.VL.IsSupported) x = Vector256.MinNative(Vector256.Create(127f), Vector256.MaxNative(Vector256.Create(-126f), x));
        var n = Vector256.Round(x);
        var r = x - n;
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(1.54035304e-4f), r, Vector256.Create(1.33335581e-3f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(9.61812911e-3f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(5.55041087e-2f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.240226507f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.693147181f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256<float>.One);
        return Avx512F.VL.IsSupported ? Avx512F.VL.Scale(p, n) : (p.AsInt32() + (Vector256.ConvertToInt32Native(n) << 23)).AsSingle();
    }

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Sigmoid(Vector256<float> x) => Vector256<float>.One / (Vector256<float>.One + Exp2(x * Vector256.Create(-1.44269504f)));

    /// <summary>log(1 + e^x), with full relative accuracy also where it is tiny.</summary>
    /// <remarks>max(x, 0) + log(1 + u) with u = e^-|x|; log(1 + u) = 2 artanh(s), s = u / (2 + u), at most 1/3, by its odd series to s^15.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Softplus(Vector256<float> x)
    {
        var u = Exp(-Vector256.Abs(x));
        var s = u / (Vector256.Create(2f) + u);
        var q = s * s;
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(2 / 15f), q, Vector256.Create(2 / 13f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2 / 11f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2 / 9f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2 / 7f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2 / 5f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2 / 3f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2f));
        return Vector256.MultiplyAddEstimate(p, s, Vector256.MaxNative(Vector256<float>.Zero, x));
    }

    /// <summary>The derivative of <see cref="Softplus"/> where it has this value: 1 - e^-value, by its series where that would cancel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SoftplusSlope(Vector256<float> value)
    {
        var series = Vector256.MultiplyAddEstimate(value, Vector256.Create(-1 / 24f), Vector256.Create(1 / 6f));
        series = Vector256.MultiplyAddEstimate(series, -value, Vector256.Create(0.5f));
        series = Vector256.MultiplyAddEstimate(series, -value, Vector256<float>.One) * value;
        return Vector256.ConditionalSelect(Vector256.LessThan(value, Vector256.Create(0.03125f)), series,
            Vector256<float>.One - Exp2(value * Vector256.Create(-1.44269504f)));
    }
}
