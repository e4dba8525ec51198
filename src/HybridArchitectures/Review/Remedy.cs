using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Describes how to fix a finding.</summary>
/// <param name="Change">The change in terms of the builder or the specs.</param>
/// <param name="Apply">The change as a function. Null if it needs a decision.</param>
/// <param name="Safe">
/// Whether <see cref="DesignReview.Fixed"/> may apply it: no weight matrix changes size, and nothing is lost. The default is false.
/// </param>
public sealed record Remedy(string Change, Func<HybridDesign, HybridDesign>? Apply = null, bool Safe = false)
{
    /// <summary>Returns the change as text.</summary>
    public override string ToString() => Change;
}
