using System.Text;
using System.Text.Json;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads the documents of one file: JSON records (<c>.jsonl</c>, <c>.ndjson</c>, <c>.json</c>), as in DCLM, Dolma and C4; parquet (<c>.parquet</c>),
/// as in FineWeb; or text. JSON and text can be compressed (<c>.gz</c>, <c>.zst</c>) and can begin with the byte order mark of UTF-8. The file is
/// streamed, and <see cref="DocumentFileOptions.MaxDocumentBytes"/> limits the memory.
/// <para>
/// <see cref="DocumentLayout"/> describes how names decide the layout. A <c>.json</c> file contains one array of objects, one object per line, or
/// objects one after another. Any other content of a <c>.json</c> file is refused. <see cref="DocumentLayout.Text"/> reads it as prose.
/// </para>
/// <para>
/// Parquet columns must be strings without repetition, at any depth of groups. Supported encodings: plain, dictionary and both delta encodings of
/// strings. Supported codecs: none, Snappy, Gzip, Brotli, LZ4, LZ4_RAW and Zstandard. Not supported: encryption and LZO.
/// </para>
/// </summary>
public sealed class DocumentFile
{
    const int CutSearchBytes = 1 << 20;
    readonly DocumentFileOptions options;
    long replaced;

    /// <summary>Creates a reader of a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="textColumn">The property or column that contains the text. Others are ignored. The default is "text".</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The path is a folder, a named pipe, a socket or a device.</exception>
    public DocumentFile(string path, string textColumn = "text") : this(path, new DocumentFileOptions { TextColumn = textColumn })
    {
    }

    /// <summary>Creates a reader of a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">The options for reading the file.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The path is a folder, a named pipe, a socket or a device.</exception>
    public DocumentFile(string path, DocumentFileOptions options)
    {
        Require.NotEmpty(path);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        RegularFile.Require(path);
        (Path, this.options) = (path, options);
        Length = RegularFile.Describe(path).Bytes;
    }

    /// <summary>Gets the path of the file.</summary>
    public string Path { get; }

    /// <summary>Gets the size of the file in bytes.</summary>
    public long Length { get; }

    /// <summary>Gets the approximate number of bytes of the file that have been read.</summary>
    public long Position { get; internal set; }

    /// <summary>Gets the number of unpaired surrogates that were replaced by U+FFFD in the documents so far.</summary>
    public long ReplacedCharacters => replaced;

    /// <summary>Gets the layout in which the file is read.</summary>
    internal DocumentLayout Layout => options.Layout != DocumentLayout.Automatic ? options.Layout : LayoutOf(Split(Path).Name);

    /// <summary>Returns the texts in order. Empty and null texts are omitted.</summary>
    /// <exception cref="InvalidDataException">
    /// The file is damaged, truncated or has another layout. The message contains the file, the position, and what was expected.
    /// </exception>
    public IEnumerable<string> Read()
    {
        replaced = 0;
        var compression = Split(Path).Compression;
        var texts = Layout switch
        {
            DocumentLayout.Parquet when compression != Compression.None =>
                throw new InvalidDataException($"{Path}: a parquet file is compressed internally; expected a file without .gz or .zst"),
            DocumentLayout.Parquet => FromParquet(),
            DocumentLayout.JsonLines => FromLines(compression),
            DocumentLayout.Json => FromJson(compression),
            _ => FromText(compression),
        };
        return texts.Where(text => !string.IsNullOrEmpty(text))!;
    }

    static (string Name, Compression Compression) Split(string path)
    {
        if (path.EndsWith(".zst", StringComparison.OrdinalIgnoreCase)) return (path[..^4], Compression.Zstandard);
        return path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? (path[..^3], Compression.Gzip) : (path, Compression.None);
    }

    static DocumentLayout LayoutOf(string name) => System.IO.Path.GetExtension(name).ToUpperInvariant() switch
    {
        ".PARQUET" => DocumentLayout.Parquet,
        ".JSONL" or ".NDJSON" => DocumentLayout.JsonLines,
        ".JSON" => DocumentLayout.Json,
        _ => DocumentLayout.Text,
    };

    ByteWindow Open(Compression compression)
    {
        var window = new ByteWindow(new CompressedSource(this, compression, options.MaxZstandardWindow), options.MaxDocumentBytes);
        try
        {
            while (window.Bytes.Length < 4 && window.Read()) { }
            if (Utf8Text.ForeignMark(window.Bytes) is { } encoding)
                throw new InvalidDataException($"{Path}: the file begins with the byte order mark of {encoding}; expected UTF-8");
            window.SkipMark();
            return window;
        }
        catch
        {
            window.Dispose();
            throw;
        }
    }

    IEnumerable<string?> FromText(Compression compression)
    {
        using var window = Open(compression);
        while (window.Bytes.Length < 1 << 12 && window.Read()) { }
        RefuseRecords(window);
        for (int searched = 0; ;)
        {
            int zero = window.Bytes[searched..].IndexOf((byte)0);
            if (zero >= 0)
                throw new InvalidDataException($"{Path}: a zero byte at offset {window.Offset + searched + zero} of the text; expected UTF-8 text");
            searched = window.Bytes.Length;
            if (window.Read()) continue;
            if (window.IsComplete) break;
            int cut = CutPoint(window.Bytes);
            yield return Decode(window.Bytes[..cut], window.Offset);
            window.Advance(cut);
            searched -= cut;
        }
        yield return Decode(window.Bytes, window.Offset);
    }

    // records in a file with the name of a text would otherwise be read as prose without a warning
    void RefuseRecords(ByteWindow window)
    {
        if (options.Layout != DocumentLayout.Automatic || window.Bytes is not [(byte)'{', ..]) return;
        while (window.Bytes.IndexOf((byte)'\n') < 0 && window.Bytes.Length < CutSearchBytes && window.Read()) { }
        int end = window.Bytes.IndexOf((byte)'\n');
        if (!JsonRecord.IsRecord(end < 0 ? window.Bytes : window.Bytes[..end], options.TextColumn)) return;
        throw new InvalidDataException(
            $"{Path}: the first line is a JSON object with the property '{options.TextColumn}'; expected text. "
            + $"Name the file .jsonl, or set {nameof(DocumentFileOptions.Layout)} to {DocumentLayout.JsonLines} or {DocumentLayout.Text}");
    }

    // after the last paragraph that ends near the end; otherwise after a line, or between two characters
    static int CutPoint(ReadOnlySpan<byte> text)
    {
        int from = Math.Max(text.Length / 2, text.Length - CutSearchBytes);
        int paragraph = text[from..].LastIndexOf("\n\n"u8);
        if (paragraph >= 0) return from + paragraph + 2;
        int line = text[from..].LastIndexOf((byte)'\n');
        if (line >= 0) return from + line + 1;
        int cut = text.Length;
        while (cut > text.Length - 4 && (text[cut - 1] & 0xc0) == 0x80) cut--;
        return cut - 1;      // before the character that begins here
    }

    string Decode(ReadOnlySpan<byte> bytes, long offset)
    {
        try
        {
            return Utf8Text.Decode(bytes, ref replaced);
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidDataException($"{Path}: invalid UTF-8 at offset {offset + e.Index} of the text", e);
        }
    }

    IEnumerable<string?> FromLines(Compression compression)
    {
        using var window = Open(compression);
        foreach (var text in Lines(window)) yield return text;
    }

    IEnumerable<string?> Lines(ByteWindow window)
    {
        for (int searched = 0; ;)
        {
            // millions of blank lines at once: a small compressed file can hold gigabytes of them
            if (searched == 0 && window.Bytes.IndexOfAnyExcept(" \t\r\n"u8) is var blank and not 0 && !window.Bytes.IsEmpty)
                window.Advance(blank < 0 ? window.Bytes.Length : blank);
            int end = window.Bytes[searched..].IndexOf((byte)'\n');
            if (end < 0 && !window.IsComplete)
            {
                searched = window.Bytes.Length;
                if (!window.Read() && !window.IsComplete) throw TooLong(window);
                continue;
            }
            if (window.Bytes.IsEmpty) yield break;
            var line = end < 0 ? window.Bytes : window.Bytes[..(searched + end)];
            int length = line.Length;
            if (line.StartsWith("\uFEFF"u8)) line = line[3..];      // concatenated files with marks
            if (line.IndexOfAnyExcept(" \t\r"u8) >= 0) yield return Record(line, window);
            window.Advance(end < 0 ? length : length + 1);
            searched = 0;
        }
    }

    InvalidDataException TooLong(ByteWindow window) => new(
        $"{Path}: the record at line {window.Line}, at offset {window.Offset} of the text, is longer than {options.MaxDocumentBytes} bytes, "
        + $"the limit that {nameof(DocumentFileOptions.MaxDocumentBytes)} sets (a bracket or quote that is not closed has this effect, too)");

    string? Record(ReadOnlySpan<byte> json, ByteWindow window)
    {
        try
        {
            return JsonRecord.Text(json, options.TextColumn, ref replaced);
        }
        catch (JsonException e)
        {
            int at = (int)Math.Min(e.BytePositionInLine ?? 0, json.Length);
            throw new InvalidDataException(
                $"{Path}: line {window.Line + json[..at].Count((byte)'\n')}, at offset {window.Offset + at} of the text: {e.Message}", e);
        }
    }

    IEnumerable<string?> FromJson(Compression compression)
    {
        using var window = Open(compression);
        var values = new JsonValues(window);
        bool isArray = values.TryTake('[');
        for (bool first = true; !(isArray ? values.TryTake(']') : values.AtEnd()); first = false)
        {
            if (isArray && !first && !values.TryTake(',')) throw Expected(window, "',' or ']' after an object of the array");
            if (!values.IsAt('{')) throw Expected(window, Objects(isArray, first));
            if (values.ObjectLength() is not { } length) throw window.IsFull ? TooLong(window) : Expected(window, "an object that ends");
            bool oneLine = !isArray && first && window.Bytes[..length].IndexOf((byte)'\n') < 0;
            yield return Record(window.Bytes[..length], window);
            window.Advance(length);
            if (!oneLine || !values.IsAtLineEnd()) continue;
            // the end of a damaged line is then known
            foreach (var text in Lines(window)) yield return text;
            yield break;
        }
        if (!values.AtEnd()) throw Expected(window, "nothing after the array");
    }

    string Objects(bool isArray, bool first) => isArray ? $"an object with the property '{options.TextColumn}'"
        : first ? $"JSON objects with the property '{options.TextColumn}', in an array or one after another. "
        + $"{nameof(DocumentLayout)}.{DocumentLayout.Text} reads prose"
        : "another object";

    InvalidDataException Expected(ByteWindow window, string expected) =>
        new($"{Path}: line {window.Line}, at offset {window.Offset} of the text: expected {expected}");

    IEnumerable<string?> FromParquet()
    {
        using var column = new ParquetColumn(this, options);
        while (column.TryRead(out var text, ref replaced)) yield return text;
    }
}
