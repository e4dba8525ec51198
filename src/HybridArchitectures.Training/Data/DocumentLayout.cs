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
    /// UTF-8 text, one document. A text longer than <see cref="DocumentFileOptions.MaxDocumentBytes"/> becomes several documents, cut between
    /// paragraphs or lines.
    /// </summary>
    Text,

    /// <summary>One JSON object per line, each a document.</summary>
    JsonLines,

    /// <summary>JSON objects, each a document: elements of one array, one per line, or one after another over any number of lines.</summary>
    Json,

    /// <summary>Parquet, each row a document.</summary>
    Parquet,
}
