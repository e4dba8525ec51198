using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Verification;

/// <summary>Contains the results of <see cref="DesignVerifier"/>. Its text is a table with one line per check.</summary>
/// <param name="Name">The name of the design.</param>
/// <param name="Results">One result per check.</param>
public sealed record VerificationReport(string Name, EquatableList<InvarianceResult> Results)
{
    /// <summary>Gets whether every check passed.</summary>
    public bool Passed => Results.All(result => result.Passed);

    /// <summary>Gets the failed checks, causes first.</summary>
    public IReadOnlyList<InvarianceResult> Failures => [.. Results.Where(result => !result.Passed)];

    /// <summary>Gets the result of one check.</summary>
    public InvarianceResult this[Invariance invariance] => Results.First(result => result.Invariance == invariance);

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture,
            $"{Name}: {(Passed ? "all checks passed" : $"{Failures.Count} of {Results.Count} checks failed")}");
        text.AppendLine("check            max error  tolerance        first layer that breaks");
        foreach (var result in Results)
        {
            text.AppendLine(string.Create(CultureInfo.InvariantCulture,
                $"{result.Invariance,-16} {result.MaxError,9:g3}  {result.Tolerance,9:g3}  {(result.Passed ? "ok" : "FAIL"),-4}  "
                + $"{(result.Passed ? "" : $"{result.Layer}: {result.Detail}")}").TrimEnd());
        }
        return text.ToString();
    }
}
