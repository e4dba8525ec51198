namespace HybridArchitectures.Design;

/// <summary>
/// Contains the multipliers of the five parts of Mamba-2's input projection, including biases (the muP multipliers of Falcon-H1, arXiv 2507.22448).
/// </summary>
/// <param name="Gate">The multiplier of the gate z.</param>
/// <param name="Values">The multiplier of the scan input x.</param>
/// <param name="B">The multiplier of B.</param>
/// <param name="C">The multiplier of C.</param>
/// <param name="TimeStep">The multiplier of the time steps, before their bias.</param>
public sealed record ProjectionScales(double Gate, double Values, double B, double C, double TimeStep)
{
    internal void Check()
    {
        Require.Positive(Gate, "projectionScales.gate");
        Require.Positive(Values, "projectionScales.values");
        Require.Positive(B, "projectionScales.b");
        Require.Positive(C, "projectionScales.c");
        Require.Positive(TimeStep, "projectionScales.timeStep");
    }
}
