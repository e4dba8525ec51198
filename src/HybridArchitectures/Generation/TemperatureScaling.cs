using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Divides the scores by a temperature. Below 1, probable tokens become more probable; above 1, the probabilities become more equal.
/// </summary>
public sealed class TemperatureScaling : LogitsProcessor
{
    readonly Scalar temperature;

    /// <summary>Creates a scaling.</summary>
    /// <param name="temperature">The temperature, positive and finite.</param>
    public TemperatureScaling(double temperature) => this.temperature = Scalars.From(Require.Positive(temperature, nameof(temperature)));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history) => Divided(scores, temperature);
}
