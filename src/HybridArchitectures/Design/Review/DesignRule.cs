namespace HybridArchitectures.Design;

/// <summary>One rule of a review. Make your own from a function and hand it over in <see cref="ReviewOptions.Rules"/>.</summary>
/// <param name="id">Its name, by which it is switched off.</param>
/// <param name="about">What it looks for, in one sentence.</param>
/// <param name="check">Gives what it finds in a complete design.</param>
public sealed class DesignRule(string id, string about, Func<HybridDesign, ReviewOptions, IEnumerable<Finding>> check)
{
    /// <summary>Its name.</summary>
    public string Id { get; } = string.IsNullOrWhiteSpace(id) ? throw Require.Refusal(nameof(id), id, "a name") : id;

    /// <summary>What it looks for.</summary>
    public string About { get; } = about;

    /// <summary>Whether it is asked of a design that no model can be made of.</summary>
    internal bool SeesUnchecked { get; init; }

    /// <summary>Its name and what it looks for.</summary>
    public override string ToString() => $"{Id}: {About}";

    /// <summary>What it finds.</summary>
    public IEnumerable<Finding> Check(HybridDesign design, ReviewOptions options) => check(design, options);
}
