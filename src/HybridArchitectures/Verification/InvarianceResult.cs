using HybridArchitectures.Design;

namespace HybridArchitectures.Verification;

/// <summary>What came out of one check.</summary>
/// <param name="Invariance">What was checked.</param>
/// <param name="MaxError">The largest error of any layer, as a share of the layer's largest output; infinite where a pass failed or gave numbers that are not finite.</param>
/// <param name="Tolerance">The largest error allowed.</param>
/// <param name="Block">The first block, from 1, whose output is wrong; one more than there are for the final norm; null where none is.</param>
/// <param name="Layer">That block with the kinds of its parts, as in <c>block 2 (Mamba2, SwiGluFeedForward)</c>.</param>
/// <param name="Errors">The error of each block's output, and of the final norm's; those after the first wrong one follow from it.</param>
/// <param name="Detail">What was tried when the first error came, and the first line of the message where a pass failed.</param>
public sealed record InvarianceResult(Invariance Invariance, double MaxError, double Tolerance, int? Block, string? Layer, EquatableList<double> Errors, string? Detail)
{
    /// <summary>Whether no layer broke it.</summary>
    public bool Passed => Block is null && MaxError <= Tolerance;
}
