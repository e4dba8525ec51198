using HybridArchitectures.Design;

namespace HybridArchitectures.Verification;

/// <summary>Represents the result of one check.</summary>
/// <param name="Invariance">The invariance that was checked.</param>
/// <param name="MaxError">
/// The maximum error of any layer, relative to the maximum output of that layer. Infinite if a pass failed or returned values that are not finite.
/// </param>
/// <param name="Tolerance">The maximum permitted error.</param>
/// <param name="Block">
/// The first block, counted from 1, whose output is wrong. The final norm counts as one more block. Null if no output is wrong.
/// </param>
/// <param name="Layer">
/// That block with the kinds of its parts, for example <c>block 2 (Mamba2, SwiGluFeedForward)</c>. Null if no output is wrong.
/// </param>
/// <param name="Errors">
/// The error of the output of each block and of the final norm. Errors after the first wrong output are consequences of it.
/// </param>
/// <param name="Detail">What was tried when the first error occurred, and the first line of the message if a pass failed.</param>
public sealed record InvarianceResult(
    Invariance Invariance, double MaxError, double Tolerance, int? Block, string? Layer, EquatableList<double> Errors, string? Detail)
{
    /// <summary>Gets the property that was checked.</summary>
    public Invariance Invariance { get; init => field = Require.Defined(value, nameof(Invariance)); } =
        Require.Defined(Invariance, nameof(Invariance));

    /// <summary>Gets whether no layer exceeded the tolerance.</summary>
    public bool Passed => Block is null && MaxError <= Tolerance;
}
