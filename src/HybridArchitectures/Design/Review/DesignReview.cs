using System.Collections;

namespace HybridArchitectures.Design;

/// <summary>What the rules have to say of a design, worst first.</summary>
public sealed class DesignReview : IReadOnlyList<Finding>
{
    // one cure may call for another, as a moved block for its new place; more rounds than rules would be a circle
    const int Rounds = 32;

    readonly IReadOnlyList<Finding> findings;
    readonly ReviewOptions options;

    /// <summary>Reviews a complete design. One that no model can be made of has the findings that say why and how that is cured, and no others.</summary>
    /// <exception cref="ArgumentException">No model can be made of the design for a reason that is no rule's, or an option names a rule there is not, or two rules have one id.</exception>
    public DesignReview(HybridDesign design, ReviewOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(design);
        Design = design;
        this.options = options ??= new();
        Require.AtLeast(options.TrainingLength, 1, "trainingLength");
        Require.AtLeast(options.MaxTextLength, 0, "maxTextLength");
        Require.AtLeast(options.RecalledPairs, 0, "recalledPairs");
        List<DesignRule> rules = [.. DesignRules.All, .. options.Rules];
        foreach (var twice in rules.GroupBy(rule => rule.Id).Where(group => group.Count() > 1)) throw Require.Refusal("rules", twice.Key, "each id once");
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

    /// <summary>The design.</summary>
    public HybridDesign Design { get; }

    /// <summary>The design with every safe cure applied: no weight matrix changes size. What is left needs a decision.</summary>
    public HybridDesign Fixed()
    {
        var (design, review) = (Design, this);
        for (int round = 0; round < Rounds; round++)
        {
            var before = design;
            foreach (var finding in review.Where(finding => finding.Cure is { Safe: true, Apply: not null })) design = finding.Cure.Apply!(design);
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

    /// <summary>A line per finding.</summary>
    public override string ToString() => Count == 0 ? "nothing found" : string.Join('\n', findings);
}
