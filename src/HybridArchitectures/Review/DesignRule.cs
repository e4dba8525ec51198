using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>
/// Represents one rule of a review. To add a custom rule, create one from a function and add it to <see cref="ReviewOptions.Rules"/>.
/// </summary>
/// <param name="id">The id, by which the rule can be switched off.</param>
/// <param name="about">One sentence that describes what the rule finds.</param>
/// <param name="check">Returns the findings for a design with all sizes derived.</param>
public sealed class DesignRule(string id, string about, Func<HybridDesign, ReviewOptions, IEnumerable<Finding>> check)
{
    /// <summary>Gets the id.</summary>
    public string Id { get; } = string.IsNullOrWhiteSpace(id) ? throw Require.Refusal(nameof(id), id, "a name") : id;

    /// <summary>Gets what the rule looks for.</summary>
    public string About { get; } = about;

    /// <summary>Gets whether the rule also applies to designs of which a model is not possible.</summary>
    internal bool SeesUnchecked { get; init; }

    /// <summary>Returns the id and what the rule looks for.</summary>
    public override string ToString() => $"{Id}: {About}";

    /// <summary>Returns the findings for a design.</summary>
    public IEnumerable<Finding> Check(HybridDesign design, ReviewOptions options) => check(design, options);
}
