using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Divides the scores by a temperature: below 1 the likely become likelier, above 1 all become more alike.</summary>
public sealed class TemperatureScaling : LogitsProcessor
{
    readonly Scalar temperature;

    /// <summary>A scaling.</summary>
    /// <param name="temperature">Positive and finite.</param>
    public TemperatureScaling(double temperature) => this.temperature = Scalars.From(Bounds.Positive(temperature, nameof(temperature)));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history) => Divided(scores, temperature);
}
