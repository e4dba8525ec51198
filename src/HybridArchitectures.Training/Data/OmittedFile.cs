namespace HybridArchitectures.Training.Data;

/// <summary>Represents a file or a link in a folder of text that was not read.</summary>
/// <param name="Name">The path relative to the folder, with <c>/</c> as the separator on every system.</param>
/// <param name="Reason">Why it was not read, for example <c>the file is not UTF-8 text</c>.</param>
public sealed record OmittedFile(string Name, string Reason);
