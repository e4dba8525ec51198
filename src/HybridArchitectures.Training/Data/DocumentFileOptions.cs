namespace HybridArchitectures.Training.Data;

/// <summary>Contains the options of <see cref="DocumentFile"/>.</summary>
public sealed record DocumentFileOptions
{
    internal const int DefaultMaxDocumentBytes = 1 << 28;
    internal const long DefaultMaxZstandardWindow = 1L << 27;
    const int MinDocumentBytesLimit = 1 << 10, MaxDocumentBytesLimit = 1 << 30;
    const long MinZstandardWindowLimit = 1L << 10, MaxZstandardWindowLimit = 1L << 31;

    /// <summary>
    /// Gets or sets the property of JSON records, or the column of parquet files, that contains the text. Columns inside groups are named with dots.
    /// The default is "text".
    /// </summary>
    public string TextColumn { get; init; } = "text";

    /// <summary>
    /// Gets or sets how the file is read. The default, <see cref="DocumentLayout.Automatic"/>, depends on its name and, for <c>.json</c>, on its
    /// content.
    /// </summary>
    public DocumentLayout Layout { get; init => field = Require.Defined(value, nameof(Layout)); }

    /// <summary>
    /// Gets or sets the maximum size of a document in bytes, from 1 KiB to 1 GiB. The default is 256 MiB. Reading uses at most a small multiple of
    /// it, regardless of the sizes that a file declares. Longer plain text becomes several documents. A longer JSON record or uncompressed parquet
    /// page is refused.
    /// </summary>
    public int MaxDocumentBytes { get; init; } = DefaultMaxDocumentBytes;

    /// <summary>
    /// Gets or sets the maximum window in bytes that is allocated for a Zstandard file, from 1 KiB to 2 GiB. The default is 128 MiB, as in the zstd
    /// program. Files of <c>zstd --long=31</c> need 2 GiB.
    /// </summary>
    public long MaxZstandardWindow { get; init; } = DefaultMaxZstandardWindow;

    internal void Check()
    {
        Require.NotEmpty(TextColumn);
        Require.InRange(Enum.IsDefined(Layout), nameof(Layout), Layout, $"one of {string.Join(", ", Enum.GetNames<DocumentLayout>())}");
        Require.InRange(MaxDocumentBytes is >= MinDocumentBytesLimit and <= MaxDocumentBytesLimit, nameof(MaxDocumentBytes), MaxDocumentBytes,
            $"{MinDocumentBytesLimit} to {MaxDocumentBytesLimit} bytes");
        Require.InRange(MaxZstandardWindow is >= MinZstandardWindowLimit and <= MaxZstandardWindowLimit, nameof(MaxZstandardWindow),
            MaxZstandardWindow,
            $"{MinZstandardWindowLimit} to {MaxZstandardWindowLimit} bytes");
    }
}
