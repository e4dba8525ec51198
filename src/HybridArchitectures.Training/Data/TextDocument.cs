namespace HybridArchitectures.Training;

/// <summary>One text.</summary>
/// <param name="Name">Where it comes from: a file's path, an assembly's name.</param>
/// <param name="Text">The text.</param>
public sealed record TextDocument(string Name, string Text);
