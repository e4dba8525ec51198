using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Normalizes the heads of queries and keys to one length, for the delta rules.</summary>
static class UnitHeads
{
    const double LengthEpsilon = 1e-6;

    /// <summary>
    /// Returns (batch, length, heads, size) from (batch, length, heads x size), with heads of the length <paramref name="to"/>: x / sqrt(sum x^2 + e)
    /// is an RMSNorm with e divided by the head size, divided by the root of the size. A head of zeros stays zero.
    /// </summary>
    public static Tensor Forward(Tensor x, int heads, int size, double to, double epsilon = LengthEpsilon)
    {
        // as groups of one row: a slice of a projection is then read in place
        var normed = RmsNorm.Forward(x, null, epsilon / size, heads).view(x.size(0), x.size(1), heads, size);
        double factor = to / Math.Sqrt(size);
        return factor == 1 ? normed : normed.mul(Scalars.From(factor));
    }
}
