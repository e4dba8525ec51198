using HybridArchitectures.Models;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Contains the constants of <see cref="AdamW"/> (decoupled weight decay, arXiv 1711.05101).</summary>
public sealed record AdamWOptions : OptimizerOptions
{
    /// <summary>Gets or sets the decay of the running mean of the gradients, in [0, 1). The default is 0.9.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Gets or sets the decay of the running mean of the squared gradients, in [0, 1). The default is 0.95.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Gets or sets the number that is added to the root of the mean square, above 0. The default is 1e-8.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>
    /// Gets or sets the weight decay: the fraction of a parameter that is subtracted per step, times the learning rate, at least 0. The default is
    /// 0.1.
    /// </summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <inheritdoc/>
    public override Optimizer Create(IEnumerable<ModelParameter> parameters)
    {
        return new AdamW(Require.EachItem(parameters).Select(parameter => (parameter.Name, parameter.Value, parameter.Decays)), this);
    }

    internal override void Check()
    {
        Require.InRange(Beta1 is >= 0 and < 1, nameof(Beta1), Beta1, "a number in [0, 1)");
        Require.InRange(Beta2 is >= 0 and < 1, nameof(Beta2), Beta2, "a number in [0, 1)");
        Require.InRange(Epsilon > 0 && double.IsFinite(Epsilon), nameof(Epsilon), Epsilon, "a finite number above 0");
        Require.InRange(WeightDecay >= 0 && double.IsFinite(WeightDecay), nameof(WeightDecay), WeightDecay, "a finite number of at least 0");
    }
}
