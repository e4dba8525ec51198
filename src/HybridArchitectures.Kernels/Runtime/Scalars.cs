using System.Collections.Concurrent;
using TorchSharp;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Provides numbers as libtorch scalars that live as long as the process. An implicit conversion (<c>x * 2</c>) creates a temporary object that the
/// garbage collector may finalize while native code reads it.
/// </summary>
public static class Scalars
{
    static readonly ConcurrentDictionary<double, Scalar> Cache = new();
    static readonly ConcurrentDictionary<long, Scalar> Integers = new();

    /// <summary>The integer 1, which does not change the type of a tensor.</summary>
    public static readonly Scalar One = 1L.ToScalar();

    /// <summary>Represents the integer 0.</summary>
    public static readonly Scalar Zero = 0L.ToScalar();

    /// <summary>Represents the integer -1.</summary>
    public static readonly Scalar MinusOne = (-1L).ToScalar();

    /// <summary>Represents the integer 2.</summary>
    public static readonly Scalar Two = 2L.ToScalar();

    /// <summary>Represents the number minus infinity.</summary>
    public static readonly Scalar MinusInfinity = double.NegativeInfinity.ToScalar();

    /// <summary>
    /// Returns the scalar of a number, created once. Use it for constants of a model (an epsilon, a scale), not for values that change in every step.
    /// </summary>
    public static Scalar From(double value) => Cache.GetOrAdd(value, static number => number.ToScalar());

    /// <summary>Returns the scalar of an integer, created once. It does not change the type of integer tensors.</summary>
    public static Scalar From(long value) => Integers.GetOrAdd(value, static number => number.ToScalar());
}
