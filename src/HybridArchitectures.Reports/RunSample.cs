namespace HybridArchitectures.Reports;

/// <summary>Represents text that a trained model generated.</summary>
/// <param name="Prompt">The prompt. May be empty.</param>
/// <param name="Text">The generated text.</param>
/// <param name="Settings">The sampling settings, for example <c>temperature 0.8, top-p 0.95, seed 0</c>. May be empty.</param>
public sealed record RunSample(string Prompt, string Text, string Settings = "");
