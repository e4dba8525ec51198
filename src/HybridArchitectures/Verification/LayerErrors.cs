using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>Collects the maximum error of each layer over all comparisons of a check.</summary>
sealed class LayerErrors(int layers, double tolerance)
{
    readonly double[] errors = new double[layers];

    public IReadOnlyList<double> Values => errors;

    public double Max => errors.Max();

    /// <summary>Gets the first layer that exceeds the tolerance, counted from 0, or null.</summary>
    public int? First => Array.FindIndex(errors, error => !(error <= tolerance)) is >= 0 and var layer ? layer : null;

    /// <summary>Gets what was tried when the tolerance was first exceeded.</summary>
    public string? Detail { get; private set; }

    /// <summary>Compares the expected with the actual output of each layer.</summary>
    public void Compare(IReadOnlyList<Tensor> expected, IReadOnlyList<Tensor> actual, string what)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        for (int layer = 0; layer < errors.Length; layer++)
        {
            if (expected[layer].NumberOfElements == 0) continue;
            double scale = Number(expected[layer].abs().max()), error = Number((expected[layer] - actual[layer]).abs().max());
            double share = !double.IsFinite(error) ? double.PositiveInfinity : error == 0 ? 0 : error / Math.Max(scale, 1e-30);
            errors[layer] = Math.Max(errors[layer], share);
            if (share > tolerance) Detail ??= what;
        }
    }

    /// <summary>Compares two counts of one layer, which must be equal.</summary>
    public void Compare(int layer, long expected, long actual, string what)
    {
        if (expected == actual) return;
        errors[layer] = Math.Max(errors[layer], Math.Abs((double)expected - actual) / Math.Max(expected, actual));
        Detail ??= what;
    }

    static double Number(Tensor value) => value.to(ScalarType.Float64).item<double>();
}
