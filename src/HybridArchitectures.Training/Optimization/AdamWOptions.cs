namespace HybridArchitectures.Training;

/// <summary>The constants of <see cref="AdamW"/> (decoupled weight decay, arXiv 1711.05101).</summary>
public sealed record AdamWOptions
{
    /// <summary>Decay of the running mean of the gradients, in [0, 1).</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the running mean of their squares, in [0, 1).</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the mean square; positive.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Share of a decayed parameter that is taken away each step, times the learning rate; from 0.</summary>
    public double WeightDecay { get; init; } = 0.1;

    internal void Check()
    {
        Refuse.Unless(Beta1 is >= 0 and < 1, Beta1, nameof(Beta1), "a number in [0, 1)");
        Refuse.Unless(Beta2 is >= 0 and < 1, Beta2, nameof(Beta2), "a number in [0, 1)");
        Refuse.Unless(Epsilon > 0 && double.IsFinite(Epsilon), Epsilon, nameof(Epsilon), "a finite number above 0");
        Refuse.Unless(WeightDecay >= 0 && double.IsFinite(WeightDecay), WeightDecay, nameof(WeightDecay), "a finite number from 0");
    }
}
