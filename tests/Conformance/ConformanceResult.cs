using System.Globalization;

namespace HybridArchitectures.Conformance;

/// <summary>Contains the difference between one kind of output of a case and the recorded output.</summary>
/// <param name="Case">The case folder's name.</param>
/// <param name="Kind">What was compared.</param>
/// <param name="MaxError">The largest difference, in the measure of the tolerance.</param>
/// <param name="Tolerance">What is allowed.</param>
/// <param name="Message">Why it could not run, if so.</param>
sealed record ConformanceResult(string Case, string Kind, double MaxError, double Tolerance, string? Message = null)
{
    /// <summary>Gets whether the error is within the tolerance. NaN never passes.</summary>
    public bool Passes => Message is null && MaxError <= Tolerance;

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Case} {Kind} {MaxError:g3} {Tolerance:g3} {(Passes ? "pass" : "fail")}");
}
