namespace HybridArchitectures.Design;

/// <summary>What makes a finding go away.</summary>
/// <param name="Change">The change in terms of the builder or of the specs.</param>
/// <param name="Apply">The same as a function; null if the choice is the reader's.</param>
/// <param name="Safe">Whether <see cref="DesignReview.Fixed"/> may apply it: no weight matrix changes size, and nothing is lost.</param>
public sealed record Cure(string Change, Func<HybridDesign, HybridDesign>? Apply = null, bool Safe = false)
{
    /// <summary>The change in words.</summary>
    public override string ToString() => Change;
}
