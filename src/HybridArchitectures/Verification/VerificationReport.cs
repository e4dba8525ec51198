using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Verification;

/// <summary>What <see cref="DesignVerifier"/> found; as text a table with one line a check.</summary>
/// <param name="Name">What was verified.</param>
/// <param name="Results">One result a check.</param>
public sealed record VerificationReport(string Name, EquatableList<InvarianceResult> Results)
{
    /// <summary>Whether every check passed.</summary>
    public bool Passed => Results.All(result => result.Passed);

    /// <summary>The checks that failed, causes first.</summary>
    public IReadOnlyList<InvarianceResult> Failures => [.. Results.Where(result => !result.Passed)];

    /// <summary>The result of one check.</summary>
    public InvarianceResult this[Invariance invariance] => Results.First(result => result.Invariance == invariance);

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{Name}: {(Passed ? "all checks passed" : $"{Failures.Count} of {Results.Count} checks failed")}");
        text.AppendLine("check            max error  tolerance        first layer that breaks");
        foreach (var result in Results)
        {
            text.AppendLine(string.Create(CultureInfo.InvariantCulture,
                $"{result.Invariance,-16} {result.MaxError,9:g3}  {result.Tolerance,9:g3}  {(result.Passed ? "ok" : "FAIL"),-4}  {(result.Passed ? "" : $"{result.Layer}: {result.Detail}")}").TrimEnd());
        }
        return text.ToString();
    }
}
