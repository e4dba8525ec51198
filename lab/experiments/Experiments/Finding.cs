namespace HybridArchitectures.Experiments;

/// <summary>Represents a finding of the paper, and the comparison that tests it. The file <c>findings.json</c> contains all of them.</summary>
/// <param name="Id">The name in tables of results.</param>
/// <param name="Claim">The claim in one sentence.</param>
/// <param name="Source">The table or the place in arXiv 2510.04800, version 3.</param>
/// <param name="Effects">
/// The second number minus the first as the paper prints them, one per scale, all of the same sign. Empty if the paper has words or a figure only.
/// </param>
/// <param name="Experiment">The experiment.</param>
/// <param name="First">The first design.</param>
/// <param name="Second">The second design.</param>
/// <param name="Task">The task of the metric.</param>
/// <param name="Metric">The metric.</param>
/// <param name="Sign">The sign of the claimed difference if there are no effects.</param>
/// <param name="Margin">For a claim of equality: the difference that still counts as equal. Null for a claim of a difference.</param>
/// <param name="Contradiction">The question to which the paper gives contradictory answers, of which this is one. Null for none.</param>
/// <param name="Note">A difference between the comparison here and that of the paper.</param>
sealed record Finding(string Id, string Claim, string Source, IReadOnlyList<FindingEffect> Effects, string Experiment, string First, string Second,
    string Task, string Metric, int? Sign = null, double? Margin = null, string? Contradiction = null, string? Note = null)
{
    /// <summary>Gets the sign of the claimed difference.</summary>
    public int ClaimedSign => Sign ?? Math.Sign(Effects.Sum(effect => effect.Value));
}
