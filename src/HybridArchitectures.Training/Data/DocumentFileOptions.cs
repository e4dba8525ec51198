namespace HybridArchitectures.Training;

/// <summary>How <see cref="DocumentFile"/> reads a file.</summary>
public sealed record DocumentFileOptions
{
    internal const int DefaultMaxDocumentBytes = 1 << 28;
    internal const long DefaultMaxZstandardWindow = 1L << 27;
    const int MinDocumentBytesLimit = 1 << 10, MaxDocumentBytesLimit = 1 << 30;
    const long MinZstandardWindowLimit = 1L << 10, MaxZstandardWindowLimit = 1L << 31;

    /// <summary>
    /// Gets the property of JSON records, or the column of parquet files, that holds the text. Columns inside groups are named with dots. The default is "text".
    /// </summary>
    public string TextColumn { get; init; } = "text";

    /// <summary>Gets how the file is read. The default, <see cref="DocumentLayout.Automatic"/>, goes by its name and, for <c>.json</c>, its content.</summary>
    public DocumentLayout Layout { get; init; }

    /// <summary>
    /// Gets the largest document in bytes, from 1 KiB to 1 GiB. The default is 256 MiB. Reading takes a small multiple of it at most, whatever a file says about
    /// its sizes. Longer plain text becomes several documents; a longer JSON record or uncompressed parquet page is refused.
    /// </summary>
    public int MaxDocumentBytes { get; init; } = DefaultMaxDocumentBytes;

    /// <summary>
    /// Gets the largest window in bytes that is allocated for a Zstandard file, from 1 KiB to 2 GiB. The default is 128 MiB, which is that of the zstd program.
    /// Files of <c>zstd --long=31</c> need 2 GiB.
    /// </summary>
    public long MaxZstandardWindow { get; init; } = DefaultMaxZstandardWindow;

    internal void Check()
    {
        ArgumentException.ThrowIfNullOrEmpty(TextColumn);
        Refuse.Unless(Enum.IsDefined(Layout), Layout, nameof(Layout), $"one of {string.Join(", ", Enum.GetNames<DocumentLayout>())}");
        Refuse.Unless(MaxDocumentBytes is >= MinDocumentBytesLimit and <= MaxDocumentBytesLimit, MaxDocumentBytes, nameof(MaxDocumentBytes),
            $"{MinDocumentBytesLimit} to {MaxDocumentBytesLimit} bytes");
        Refuse.Unless(MaxZstandardWindow is >= MinZstandardWindowLimit and <= MaxZstandardWindowLimit, MaxZstandardWindow, nameof(MaxZstandardWindow),
            $"{MinZstandardWindowLimit} to {MaxZstandardWindowLimit} bytes");
    }
}
