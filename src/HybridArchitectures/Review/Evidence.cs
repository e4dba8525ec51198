namespace HybridArchitectures.Review;

/// <summary>Describes the evidence for a finding.</summary>
/// <param name="Number">The measured or derived effect, with its number.</param>
/// <param name="Source">The source of the evidence.</param>
public sealed record Evidence(string Number, string Source)
{
    /// <summary>Returns number and source as text.</summary>
    public override string ToString() => $"{Number} ({Source})";
}
