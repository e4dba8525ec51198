namespace HybridArchitectures.Training.Data;

/// <summary>Specifies how a file contains its documents.</summary>
public enum DocumentLayout
{
    /// <summary>
    /// The name of the file decides, without <c>.gz</c> and <c>.zst</c>: <c>.jsonl</c> and <c>.ndjson</c> are <see cref="JsonLines"/>, <c>.json</c>
    /// is <see cref="Json"/>, <c>.parquet</c> is <see cref="Parquet"/>, and any other name is <see cref="Text"/>. Text whose first line is a JSON
    /// record with the text property is refused.
    /// </summary>
    Automatic,

    /// <summary>
    /// Reads UTF-8 text as one document. A text longer than <see cref="DocumentFileOptions.MaxDocumentBytes"/> becomes several documents, cut between
    /// paragraphs or lines.
    /// </summary>
    Text,

    /// <summary>Reads one JSON object per line, each a document.</summary>
    JsonLines,

    /// <summary>Reads JSON objects, each a document: elements of one array, one per line, or in sequence over any number of lines.</summary>
    Json,

    /// <summary>Reads Parquet, each row a document.</summary>
    Parquet,
}
