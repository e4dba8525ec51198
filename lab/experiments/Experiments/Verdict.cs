namespace HybridArchitectures.Experiments;

/// <summary>Specifies what the data here say about a finding.</summary>
enum Verdict
{
    /// <summary>The finding was not measured.</summary>
    Missing,

    /// <summary>The difference has the sign of the finding, or equality holds within its margin, with 95 % confidence.</summary>
    Same,

    /// <summary>The interval contains both a difference as in the finding and none.</summary>
    Undecided,

    /// <summary>The difference has the other sign, or exceeds the margin of equality, with 95 % confidence.</summary>
    Opposite,
}
