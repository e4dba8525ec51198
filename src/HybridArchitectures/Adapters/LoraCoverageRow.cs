namespace HybridArchitectures.Adapters;

/// <summary>How far adapters reach in one part of a model.</summary>
/// <param name="Part">The part: one of <see cref="LoraTargets"/>, or the parameters that are no projections (embedding, norms, convolutions, scans).</param>
/// <param name="Projections">Weights of projections there are.</param>
/// <param name="Adapted">How many of them have an adapter.</param>
/// <param name="Parameters">Parameters of the part.</param>
/// <param name="AdaptedParameters">Parameters of the weights that have an adapter.</param>
/// <param name="AdapterParameters">Parameters of the adapters themselves.</param>
public sealed record LoraCoverageRow(string Part, int Projections, int Adapted, long Parameters, long AdaptedParameters, long AdapterParameters)
{
    /// <summary>Share of the part's projections that have an adapter.</summary>
    public double ProjectionShare => Projections == 0 ? 0 : (double)Adapted / Projections;

    /// <summary>Share of the part's parameters that adapters change.</summary>
    public double ParameterShare => Parameters == 0 ? 0 : (double)AdaptedParameters / Parameters;
}
