using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Normalizes the heads of queries and keys to one length, for the delta rules.</summary>
static class UnitHeads
{
    /// <summary>What is added to the squares of lengths.</summary>
    public const double LengthEpsilon = 1e-6;

    /// <summary>
    /// Returns (batch, length, heads, size) from (batch, length, heads x size), with heads of the length <paramref name="to"/>: x / sqrt(sum x^2 + e)
    /// is an RMSNorm with e divided by the head size and a constant weight, 1 / the root of the size. A head of zeros stays zero.
    /// </summary>
    public static Tensor Forward(TensorSlice slice, int heads, int size, double to, double epsilon = LengthEpsilon)
    {
        var x = slice.Tensor;
        double factor = to / Math.Sqrt(size);
        using var scope = NewDisposeScope();
        var type = x.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var weight = factor == 1 ? null : full([x.size(2)], Scalars.From(factor), type, x.device);
        // as groups of one row: a slice of a projection is then read in place
        var inputs = new NormInputs(x, null, weight, epsilon / size, heads, NormFirst: false) { XGradient = slice.Gradient };
        return RmsNorm.Compute(inputs).view(x.size(0), x.size(1), heads, size).MoveToOuterDisposeScope();
    }
}
