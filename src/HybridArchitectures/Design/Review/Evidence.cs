namespace HybridArchitectures.Design;

/// <summary>Why a finding is to be believed.</summary>
/// <param name="Number">What was measured or follows, with its number.</param>
/// <param name="Source">Where it is from.</param>
public sealed record Evidence(string Number, string Source)
{
    /// <summary>Number and source.</summary>
    public override string ToString() => $"{Number} ({Source})";
}
