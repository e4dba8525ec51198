namespace HybridArchitectures.Adapters;

/// <summary>Describes the share of one part of a model that has adapters.</summary>
/// <param name="Part">
/// The part: one of <see cref="LoraTargets"/>, or the parameters that are not projections (embedding, norms, convolutions, scans).
/// </param>
/// <param name="Projections">The number of projection weights.</param>
/// <param name="Adapted">The number of projection weights with an adapter.</param>
/// <param name="Parameters">The number of parameters of the part.</param>
/// <param name="AdaptedParameters">The number of parameters of the weights with an adapter.</param>
/// <param name="AdapterParameters">The number of parameters of the adapters.</param>
public sealed record LoraCoverageRow(string Part, int Projections, int Adapted, long Parameters, long AdaptedParameters, long AdapterParameters)
{
    /// <summary>Gets the share of the projections of the part that have an adapter.</summary>
    public double ProjectionShare => Projections == 0 ? 0 : (double)Adapted / Projections;

    /// <summary>Gets the share of the parameters of the part that adapters change.</summary>
    public double ParameterShare => Parameters == 0 ? 0 : (double)AdaptedParameters / Parameters;
}
