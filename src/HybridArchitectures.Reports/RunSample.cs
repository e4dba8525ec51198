namespace HybridArchitectures.Reports;

/// <summary>Text a trained model wrote.</summary>
/// <param name="Prompt">What it was given; may be empty.</param>
/// <param name="Text">What it wrote after that.</param>
/// <param name="Settings">How the tokens were chosen, such as <c>temperature 0.8, top-p 0.95, seed 0</c>; may be empty.</param>
public sealed record RunSample(string Prompt, string Text, string Settings = "");
