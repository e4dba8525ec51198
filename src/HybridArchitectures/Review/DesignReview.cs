using System.Collections;
using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Contains the findings of the rules about a design, the most severe first.</summary>
/// <example>
/// <code>
/// HybridDesign design = Recipes.Get("1B-inter-1:12-at-1").Design;         // attention is the first of 13 blocks
/// DesignReview review = design.Review();
/// foreach (Finding finding in review) Console.WriteLine(finding);
/// Console.WriteLine(review.Fixed().Pattern);                              // MMMMMMTMMMMMM
/// </code>
/// </example>
public sealed class DesignReview : IReadOnlyList<Finding>
{
    // one fix may require another; more rounds than rules would mean a cycle
    const int Rounds = 32;

    readonly IReadOnlyList<Finding> findings;
    readonly ReviewOptions options;

    /// <summary>
    /// Reviews a design. If a model of it is not possible, the review contains only the findings that explain why and how to fix it.
    /// </summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <exception cref="ArgumentException">
    /// A model of the design is not possible for a reason that no rule covers, an option names an unknown rule, or two rules have the same id.
    /// </exception>
    public DesignReview(HybridDesign design, ReviewOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(design);
        Design = design;
        this.options = options ??= new();
        Require.AtLeast(options.TrainingLength, 1, "trainingLength");
        Require.AtLeast(options.MaxContextLength, 0, "maxContextLength");
        Require.AtLeast(options.RecalledPairs, 0, "recalledPairs");
        List<DesignRule> rules = [.. DesignRules.All, .. options.Rules];
        foreach (var twice in rules.GroupBy(rule => rule.Id).Where(group => group.Count() > 1))
            throw Require.Refusal("rules", twice.Key, "each id once");
        foreach (string id in options.Off)
            Require.That(rules.Any(rule => rule.Id == id), "off", id, $"the id of a rule: {string.Join(", ", rules.Select(rule => rule.Id))}");
        rules.RemoveAll(rule => options.Off.Contains(rule.Id));
        IReadOnlyList<Finding> Of(bool beforeCheck) =>
        [
            .. Finding.Joined(rules.Where(rule => rule.SeesUnchecked == beforeCheck).SelectMany(rule => rule.Check(design, options)))
                .OrderByDescending(finding => finding.Severity),
        ];
        findings = design.HasBlocks ? Of(true) : [];
        if (findings.Count > 0) return;
        design.Check();
        findings = Of(false);
    }

    /// <summary>Gets the design.</summary>
    public HybridDesign Design { get; }

    /// <summary>Returns the design with every safe fix applied. No weight matrix changes size. The remaining findings need a decision.</summary>
    public HybridDesign Fixed()
    {
        var (design, review) = (Design, this);
        for (int round = 0; round < Rounds; round++)
        {
            var before = design;
            foreach (var finding in review.Where(finding => finding.Remedy is { Safe: true, Apply: not null }))
                design = finding.Remedy.Apply!(design);
            if (design == before) break;
            review = new(design, options);
        }
        return design;
    }

    /// <inheritdoc/>
    public int Count => findings.Count;

    /// <inheritdoc/>
    public Finding this[int index] => findings[index];

    /// <inheritdoc/>
    public IEnumerator<Finding> GetEnumerator() => findings.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Returns one line per finding.</summary>
    public override string ToString() => Count == 0 ? "nothing found" : string.Join('\n', findings);
}
