using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Contains a design that was made to match another one.</summary>
/// <param name="Design">The closest design.</param>
/// <param name="Value">The value of the measure.</param>
/// <param name="Target">The target value.</param>
public sealed record SolvedDesign(HybridDesign Design, double Value, double Target)
{
    /// <summary>Gets the relative difference to the target: positive if the value is above it.</summary>
    public double Error => Value / Target - 1;
}
