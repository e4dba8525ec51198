using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>A design made to match another.</summary>
/// <param name="Design">The nearest there is.</param>
/// <param name="Value">What it has of the measure.</param>
/// <param name="Target">What was wanted.</param>
public sealed record SolvedDesign(HybridDesign Design, double Value, double Target)
{
    /// <summary>By which part of the target it is above (below if negative).</summary>
    public double Error => Value / Target - 1;
}
