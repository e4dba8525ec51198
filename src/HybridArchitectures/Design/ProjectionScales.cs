namespace HybridArchitectures.Design;

/// <summary>Factors on the five parts of Mamba-2's in-projection, biases included (the muP multipliers of Falcon-H1, arXiv 2507.22448).</summary>
/// <param name="Gate">On the gate z.</param>
/// <param name="Values">On the scan input x.</param>
/// <param name="B">On B.</param>
/// <param name="C">On C.</param>
/// <param name="TimeStep">On the time steps, before their bias.</param>
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
