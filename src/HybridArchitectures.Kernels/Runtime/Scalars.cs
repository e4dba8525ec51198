using System.Collections.Concurrent;
using TorchSharp;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Numbers as libtorch scalars that live as long as the process. An implicit conversion (<c>x * 2</c>) makes a temporary that the garbage collector may
/// finalize while native code reads it; one of these never is.
/// </summary>
public static class Scalars
{
    static readonly ConcurrentDictionary<double, Scalar> Cache = new();
    static readonly ConcurrentDictionary<long, Scalar> Integers = new();

    /// <summary>1, an integer: it leaves the type of any tensor as it is.</summary>
    public static readonly Scalar One = 1L.ToScalar();

    /// <summary>0, an integer.</summary>
    public static readonly Scalar Zero = 0L.ToScalar();

    /// <summary>-1, an integer.</summary>
    public static readonly Scalar MinusOne = (-1L).ToScalar();

    /// <summary>2, an integer.</summary>
    public static readonly Scalar Two = 2L.ToScalar();

    /// <summary>Minus infinity.</summary>
    public static readonly Scalar MinusInfinity = double.NegativeInfinity.ToScalar();

    /// <summary>The scalar of a number, made once. For constants of a model (an epsilon, a scale), not for values that change every step.</summary>
    public static Scalar From(double value) => Cache.GetOrAdd(value, static number => number.ToScalar());

    /// <summary>The scalar of an integer, made once; it leaves integer tensors integer.</summary>
    public static Scalar From(long value) => Integers.GetOrAdd(value, static number => number.ToScalar());
}
