using System.Text;
using System.Text.Json;
using ICSharpCode.SharpZipLib.GZip;
using Parquet;
using ZstdSharp;

namespace HybridArchitectures.Training;

/// <summary>
/// Documents of one file: JSON lines (<c>.jsonl</c>, <c>.ndjson</c>), as DCLM comes; parquet (<c>.parquet</c>), as FineWeb comes; any other name is text, one document. JSON lines and text may be
/// compressed (<c>.gz</c>, <c>.zst</c>). Read as a stream, but for a row group of a parquet file and a text.
/// </summary>
public sealed class DocumentFile
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    readonly string textColumn;

    /// <summary>A file to read.</summary>
    /// <param name="path">The file.</param>
    /// <param name="textColumn">The property or column that holds the text; others are passed over.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public DocumentFile(string path, string textColumn = "text")
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentException.ThrowIfNullOrEmpty(textColumn);
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'", path);
        (Path, this.textColumn) = (path, textColumn);
        Length = new FileInfo(path).Length;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Its size in bytes.</summary>
    public long Length { get; }

    /// <summary>How many bytes of the file have been read, about.</summary>
    public long Position { get; internal set; }

    /// <summary>The texts in order; those that are empty or null are left out.</summary>
    /// <exception cref="InvalidDataException">The file is damaged, truncated or of another layout; the message names file and place.</exception>
    public IEnumerable<string> Read()
    {
        var name = Path.ToLowerInvariant();
        bool zst = name.EndsWith(".zst", StringComparison.Ordinal), gz = name.EndsWith(".gz", StringComparison.Ordinal);
        if (zst || gz) name = name[..name.LastIndexOf('.')];
        var texts = name.EndsWith(".parquet", StringComparison.Ordinal)
            ? zst || gz ? throw new InvalidDataException($"{Path}: a parquet file is compressed inside; expected it without .gz or .zst around it") : FromParquet()
            : name.EndsWith(".jsonl", StringComparison.Ordinal) || name.EndsWith(".ndjson", StringComparison.Ordinal) ? FromLines(zst, gz) : FromText(zst, gz);
        return texts.Where(text => !string.IsNullOrEmpty(text))!;
    }

    IEnumerable<string?> FromText(bool zst, bool gz)
    {
        using var source = new Source(this, zst, gz);
        using var memory = new MemoryStream();
        var buffer = new byte[1 << 16];
        for (int got; (got = source.Read(buffer)) > 0;) memory.Write(buffer, 0, got);
        var bytes = memory.GetBuffer().AsMemory(0, (int)memory.Length);
        if (bytes.Span.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
        yield return Decode(bytes.Span);
    }

    string Decode(ReadOnlySpan<byte> bytes)
    {
        int zero = bytes.IndexOf((byte)0);
        if (zero >= 0) throw new InvalidDataException($"{Path}: a zero byte at offset {zero} of the text; expected UTF-8 text");
        try
        {
            return Strict.GetString(bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidDataException($"{Path}: bytes that are no UTF-8 at offset {e.Index} of the text", e);
        }
    }

    IEnumerable<string?> FromLines(bool zst, bool gz)
    {
        using var source = new Source(this, zst, gz);
        var buffer = new byte[1 << 16];
        int filled = 0, searched = 0;
        long line = 0, offset = 0;       // of the text, where the buffer begins
        for (bool ended = false; !ended || filled > 0;)
        {
            int end = buffer.AsSpan(searched, filled - searched).IndexOf((byte)'\n');
            if (end < 0 && !ended)
            {
                searched = filled;
                if (filled == buffer.Length)
                {
                    if (buffer.Length > 1 << 29) throw new InvalidDataException($"{Path}: line {line + 1}, at offset {offset} of the text, is longer than {buffer.Length} bytes");
                    Array.Resize(ref buffer, 2 * buffer.Length);
                }
                int got = source.Read(buffer.AsSpan(filled));
                ended = got == 0;
                filled += got;
                continue;
            }
            int length = end < 0 ? filled : searched + end, taken = Math.Min(filled, length + 1);
            line++;
            var content = buffer.AsMemory(0, length);
            if (line == 1 && content.Span.StartsWith("\uFEFF"u8)) content = content[3..];
            if (content.Span.IndexOfAnyExcept(" \t\r"u8) >= 0) yield return FromJson(content.Span, line, offset);
            buffer.AsSpan(taken, filled - taken).CopyTo(buffer);
            filled -= taken;
            searched = 0;
            offset += taken;
        }
    }

    string? FromJson(ReadOnlySpan<byte> json, long line, long offset)
    {
        var reader = new Utf8JsonReader(json);
        string? text = null;
        bool found = false;
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw new JsonException("expected an object");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                bool isText = reader.ValueTextEquals(textColumn);
                reader.Read();
                if (isText)
                {
                    if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.Null)) throw new JsonException($"'{textColumn}' is {reader.TokenType}; expected a string");
                    (text, found) = (reader.GetString(), true);
                }
                else reader.Skip();
            }
            while (reader.Read()) { }       // nothing may follow
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{Path}: line {line}, at offset {offset + reader.BytesConsumed} of the text: {e.Message}", e);
        }
        return found ? text : throw new InvalidDataException($"{Path}: line {line}, at offset {offset} of the text: no property '{textColumn}'");
    }

    IEnumerable<string?> FromParquet()
    {
        ParquetReader reader;
        try
        {
            reader = Wait(ParquetReader.CreateAsync(Path));
        }
        catch (Exception e) when (e is not (OutOfMemoryException or UnauthorizedAccessException))
        {
            throw new InvalidDataException($"{Path}: no whole parquet file; its directory should end at offset {Length} ({e.Message})", e);
        }
        try
        {
            var fields = reader.Schema.GetDataFields();
            var field = Array.Find(fields, candidate => candidate.Path.ToString() == textColumn)
                ?? throw new InvalidDataException($"{Path}: no column '{textColumn}'; it has {string.Join(", ", fields.Select(candidate => candidate.Path.ToString()))}");
            if ((field.ClrType != typeof(string) && field.ClrType != typeof(ReadOnlyMemory<char>)) || field.IsArray)
                throw new InvalidDataException($"{Path}: column '{textColumn}' is {field.ClrType.Name}{(field.IsArray ? "[]" : "")}; expected strings");
            for (int group = 0; group < reader.RowGroupCount; group++)
            {
                foreach (var text in ReadGroup(reader, field, group)) yield return text;
                Position = Length * (group + 1) / reader.RowGroupCount;
            }
        }
        finally
        {
            Wait(reader.DisposeAsync());
        }
    }

    string?[] ReadGroup(ParquetReader reader, Parquet.Schema.DataField field, int group)
    {
        long offset = 0;
        try
        {
            using var rows = reader.OpenRowGroupReader(group);
            offset = rows.GetMetadata(field)?.MetaData?.DataPageOffset ?? 0;
            var texts = new string?[checked((int)rows.RowCount)];
            Wait(rows.ReadAsync(field, texts.AsMemory()!));
            return texts;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new InvalidDataException($"{Path}: row group {group} of {reader.RowGroupCount}, column '{textColumn}' at offset {offset}, is damaged: {e.Message}", e);
        }
    }

    // the library offers nothing else; there is no context here to fall into a deadlock with
    static T Wait<T>(Task<T> task) => task.ConfigureAwait(false).GetAwaiter().GetResult();

    static void Wait(ValueTask task) => task.AsTask().ConfigureAwait(false).GetAwaiter().GetResult();

    /// <summary>The uncompressed bytes of a file.</summary>
    sealed class Source : IDisposable
    {
        readonly DocumentFile owner;
        readonly FileStream file;
        readonly Stream stream;

        public Source(DocumentFile owner, bool zst, bool gz)
        {
            this.owner = owner;
            file = new FileStream(owner.Path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1 << 16);
            // the framework's own stream takes a truncated file for a shorter one
            stream = zst ? new DecompressionStream(file) : gz ? new GZipInputStream(file, 1 << 16) : file;
        }

        public int Read(Span<byte> target)
        {
            try
            {
                int got = stream.Read(target);
                owner.Position = file.Position;
                return got;
            }
            catch (Exception e) when (e is ZstdException or ICSharpCode.SharpZipLib.SharpZipBaseException or EndOfStreamException)
            {
                throw new InvalidDataException($"{owner.Path}: damaged or truncated at about offset {file.Position} of {owner.Length}: {e.Message}", e);
            }
        }

        public void Dispose()
        {
            stream.Dispose();
            file.Dispose();
        }
    }
}
