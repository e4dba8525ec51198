namespace HybridArchitectures.Reports;

/// <summary>Represents a fact about a run or the machine, as one line of a table: <c>learning rate</c>, <c>3e-3</c>.</summary>
/// <param name="Name">The name of the fact.</param>
/// <param name="Value">The value, with its unit.</param>
public sealed record ReportFact(string Name, string Value);
