namespace HybridArchitectures.Training.Data;

/// <summary>Represents one text.</summary>
/// <param name="Name">The source of the text: the path of a file, or the name of an assembly.</param>
/// <param name="Text">The text of the document.</param>
public sealed record TextDocument(string Name, string Text);
