namespace HybridArchitectures.Reports;

/// <summary>Something worth knowing about a run or the machine, as a line of a table: <c>learning rate</c>, <c>3e-3</c>.</summary>
/// <param name="Name">What.</param>
/// <param name="Value">How much, with its unit.</param>
public sealed record ReportFact(string Name, string Value);
