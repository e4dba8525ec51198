using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>Computes the difference between tensors.</summary>
static class ConformanceError
{
    /// <summary>Returns the maximum absolute difference, computed on the CPU.</summary>
    public static double Difference(Tensor expected, Tensor actual)
    {
        if (!expected.shape.SequenceEqual(actual.shape))
            throw new InvalidDataException($"the shape is [{string.Join(", ", actual.shape)}]; expected [{string.Join(", ", expected.shape)}]");
        if (expected.NumberOfElements == 0) return 0;
        return (expected.cpu().to(ScalarType.Float64) - actual.detach().cpu().to(ScalarType.Float64)).abs().max().item<double>();
    }

    /// <summary>Returns the maximum error, relative to the larger of 1 and the maximum of the expected tensor.</summary>
    public static double Scaled(Tensor expected, Tensor actual) =>
        Difference(expected, actual) / Math.Max(1, expected.abs().max().to(ScalarType.Float64).item<double>());

    /// <summary>Returns the maximum. NaN stays NaN.</summary>
    public static double Largest(IEnumerable<double> errors)
    {
        double maxError = 0;
        foreach (double error in errors) maxError = double.IsNaN(error) ? double.NaN : Math.Max(maxError, error);
        return maxError;
    }
}
