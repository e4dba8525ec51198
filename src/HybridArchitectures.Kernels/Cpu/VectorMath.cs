using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Provides elementary functions on eight floats, accurate to one or two units in the last place, without tables or branches.
/// <para>
/// All are based on 2^x with x = n + r, |r| at most 1/2. Adding 1.5 * 2^23 rounds x to n and leaves n in the lowest bits of the sum. A shift moves it
/// to the exponent, so neither a rounding nor a conversion is needed, which cost two slots each where an addition costs one. 2^r is 1 + r q(r) with q
/// of degree 4, fitted for minimum relative error (2^-23.1, coefficients rounded). The result is exactly 1 at r = 0.
/// </para>
/// </summary>
static class VectorMath
{
    public const float Log2E = 1.44269504f;
    const float Log2ERest = 1.925963033e-8f;        // log2(e) - Log2E
    const float Rounder = 12582912f;                // 1.5 * 2^23
    const float MinExponent = -126;                       // the minimum exponent of normal numbers

    /// <summary>The argument below which <see cref="Exp"/> does not decrease.</summary>
    public const float MinLogarithm = -87.33f;

    /// <summary>The maximum |x| that needs no limit before <see cref="Power"/>.</summary>
    public const float Unlimited = 126;

    /// <summary>Computes 2^x. Below -126, the result is the minimum normal number, and from 128 on, it is infinite. NaN remains NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> x)
    {
        x = Limited(x, MinExponent, 128);         // 128 exactly: r is 0, and no mantissa changes infinity to NaN
        var shifted = x + Vector256.Create(Rounder);
        return Power(shifted, x - (shifted - Vector256.Create(Rounder)));
    }

    /// <summary>Computes 2^(x y) without rounding the product. |x y| must be at most <see cref="Unlimited"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2Product(Vector256<float> x, Vector256<float> y)
    {
        var shifted = Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder));
        return Power(shifted, Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder) - shifted));
    }

    /// <summary>
    /// Computes 2^(x y) for any x and y, bit-identical where both functions apply. Beyond that, the results are about 2^-126 and 2^127. NaN remains
    /// NaN.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2AnyProduct(Vector256<float> x, Vector256<float> y)
    {
        var shifted = Limited(Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder)), Rounder + MinExponent, Rounder + 127);
        return Power(shifted, Limited(Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder) - shifted), -0.5f, 0.5f));
    }

    /// <summary>Computes e^x. Below -87.3, the result is the minimum normal number, and above 88.7 the maximum. NaN remains NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x)
    {
        x = Limited(x, MinLogarithm, 88.7228f);
        var shifted = Vector256.MultiplyAddEstimate(x, Vector256.Create(Log2E), Vector256.Create(Rounder));
        var r = Vector256.MultiplyAddEstimate(x, Vector256.Create(Log2E), Vector256.Create(Rounder) - shifted);
        return Power(shifted, Vector256.MultiplyAddEstimate(x, Vector256.Create(Log2ERest), r));
    }

    /// <summary>
    /// Computes 2^(n + r), with n in the lowest bits of <paramref name="shifted"/>. If both are NaN, those bits are 0 and the result is NaN.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Power(Vector256<float> shifted, Vector256<float> r)
    {
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(1.32647273e-3f), r, Vector256.Create(9.67151299e-3f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(5.55073358e-2f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.240222424f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.693147004f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256<float>.One);
        return (p.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
    }

    // uses comparisons, because the compiler does not guarantee which operand a minimum returns if one is NaN
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Limited(Vector256<float> x, float minimum, float maximum)
    {
        x = Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256.Create(minimum)), Vector256.Create(minimum), x);
        return Vector256.ConditionalSelect(Vector256.GreaterThan(x, Vector256.Create(maximum)), Vector256.Create(maximum), x);
    }

    /// <summary>Computes 1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Sigmoid(Vector256<float> x) => Vector256<float>.One / (Vector256<float>.One + Exp2(x * Vector256.Create(-Log2E)));

    /// <summary>Computes the derivative of x sigmoid(x) from sigmoid(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SiluSlope(Vector256<float> x, Vector256<float> sigmoid) =>
        sigmoid * Vector256.MultiplyAddEstimate(x, Vector256<float>.One - sigmoid, Vector256<float>.One);

    /// <summary>Computes log(1 + e^x) with full relative accuracy, including tiny results.</summary>
    /// <remarks>
    /// max(x, 0) + log(1 + u) with u = e^-|x|; log(1 + u) = 2 artanh(s), s = u / (2 + u), at most 1/3: s (2 + q P(q)) with q = s^2, fitted to 2^-27.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Softplus(Vector256<float> x)
    {
        var u = Exp(-Vector256.Abs(x));
        var s = u / (Vector256.Create(2f) + u);
        var q = s * s;
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(0.280119866f), q, Vector256.Create(0.280018061f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(0.400215268f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(0.666664183f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2f));
        return Vector256.MultiplyAddEstimate(p, s, Vector256.AndNot(x, Vector256.LessThan(x, Vector256<float>.Zero)));
    }

    /// <summary>Computes the derivative of <see cref="Softplus"/> from its value: 1 - e^-value, by its series if that would cancel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SoftplusSlope(Vector256<float> value)
    {
        var series = Vector256.MultiplyAddEstimate(value, Vector256.Create(-1 / 24f), Vector256.Create(1 / 6f));
        series = Vector256.MultiplyAddEstimate(series, -value, Vector256.Create(0.5f));
        series = Vector256.MultiplyAddEstimate(series, -value, Vector256<float>.One) * value;
        return Vector256.ConditionalSelect(Vector256.LessThan(value, Vector256.Create(0.03125f)), series,
            Vector256<float>.One - Exp2(value * Vector256.Create(-Log2E)));
    }
}
