using System.Text;
using System.Text.Json;

namespace HybridArchitectures.Storage;

/// <summary>
/// Reads and writes the JSON header of a safetensors file: <c>{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]},
/// "__metadata__": {...}}</c>. It is as strict as the reader of the format: every byte of the data belongs to exactly one tensor, and sizes that
/// exceed the length of the file allocate no memory.
/// </summary>
static class SafetensorsHeader
{
    public const int MaximumBytes = 100_000_000;    // the limit of the reader of the format
    const int MaximumRank = 64;                     // the limit of libtorch
    const int MaximumName = 4096;                   // keeps messages about malicious files readable

    public static (List<SafetensorsEntry> Entries, Dictionary<string, string> Metadata) Parse(
    ReadOnlySpan<byte> json, long dataStart, long dataBytes, string path)
    {
        try
        {
            return ParseCore(json, dataStart, dataBytes, path);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"{path}: the safetensors header is not valid JSON of the format ({e.Message})", e);
        }
    }

    static (List<SafetensorsEntry>, Dictionary<string, string>) ParseCore(ReadOnlySpan<byte> json, long dataStart, long dataBytes, string path)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 4 });
        var entries = new List<SafetensorsEntry>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        Expect(ref reader, JsonTokenType.StartObject, "the header", path);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (name.Length > MaximumName)
                throw new InvalidDataException($"{path}: a tensor name of {name.Length} characters; expected at most {MaximumName}");
            if (!names.Add(name)) throw new InvalidDataException($"{path}: '{name}' occurs twice in the header");
            if (name == "__metadata__") ReadMetadata(ref reader, metadata, path);
            else entries.Add(ReadEntry(ref reader, name, dataStart, dataBytes, path));
        }
        if (reader.TokenType != JsonTokenType.EndObject) throw new InvalidDataException($"{path}: the header does not end with its object");
        while (reader.Read()) throw new InvalidDataException($"{path}: the object of the header is followed by more text");
        entries.Sort((a, b) => a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset) : a.ByteCount.CompareTo(b.ByteCount));
        CheckCoverage(entries, dataStart, dataBytes, path);
        return (entries, metadata);
    }

    static void ReadMetadata(ref Utf8JsonReader reader, Dictionary<string, string> metadata, string path)
    {
        Expect(ref reader, JsonTokenType.StartObject, "__metadata__", path);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString()!;
            Expect(ref reader, JsonTokenType.String, $"__metadata__ '{Shortened(key)}'", path);
            if (!metadata.TryAdd(key, reader.GetString()!))
                throw new InvalidDataException($"{path}: '{Shortened(key)}' occurs twice in __metadata__");
        }
    }

    static SafetensorsEntry ReadEntry(ref Utf8JsonReader reader, string name, long dataStart, long dataBytes, string path)
    {
        string? typeName = null;
        List<long>? shape = null, offsets = null;
        Expect(ref reader, JsonTokenType.StartObject, $"tensor '{name}'", path);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString();
            if (key switch { "dtype" => typeName is not null, "shape" => shape is not null, "data_offsets" => offsets is not null, _ => false })
                throw new InvalidDataException($"{path}: tensor '{name}' has '{key}' twice");
            switch (key)
            {
                case "dtype":
                    Expect(ref reader, JsonTokenType.String, $"tensor '{name}' dtype", path);
                    typeName = reader.GetString();
                    break;
                case "shape":
                    shape = ReadNumbers(ref reader, MaximumRank, $"tensor '{name}' shape", path);
                    break;
                case "data_offsets":
                    offsets = ReadNumbers(ref reader, 2, $"tensor '{name}' data_offsets", path);
                    break;
                default:
                    throw new InvalidDataException(
                    $"{path}: tensor '{name}' has an unknown key '{Shortened(key!)}'; expected dtype, shape and data_offsets");
            }
        }
        if (typeName is null || shape is null || offsets is null)
            throw new InvalidDataException(
                $"{path}: tensor '{name}' has no {(typeName is null ? "dtype" : shape is null ? "shape" : "data_offsets")}");
        return CreateEntry(name, typeName, shape, offsets, dataStart, dataBytes, path);
    }

    static SafetensorsEntry CreateEntry(
        string name, string typeName, List<long> shape, List<long> offsets, long dataStart, long dataBytes, string path)
    {
        if (!SafetensorsTypes.TryParse(typeName, out var type, out int size))
            throw new InvalidDataException($"{path}: tensor '{name}' has dtype '{Shortened(typeName)}'; expected one of {SafetensorsTypes.Names}"
                + (SafetensorsTypes.IsQuantized(typeName) ? $". This file is quantised. {SafetensorsTypes.NoQuantizedWeights}" : ""));
        if (offsets.Count != 2 || offsets[0] > offsets[1] || offsets[1] > dataBytes)
            throw new InvalidDataException(
                $"{path}: tensor '{name}' has data_offsets [{string.Join(", ", offsets)}]; the data is {dataBytes} bytes long");
        long bytes = ByteCount(shape, size)
            ?? throw new InvalidDataException($"{path}: tensor '{name}' has shape [{string.Join(", ", shape)}], which has too many elements");
        if (bytes != offsets[1] - offsets[0])
            throw new InvalidDataException(
                $"{path}: tensor '{name}' at offset {offsets[0]} is {typeName}[{string.Join(", ", shape)}], "
                + $"{bytes} bytes, but its data_offsets [{offsets[0]}, {offsets[1]}] hold {offsets[1] - offsets[0]}");
        return new SafetensorsEntry(name, type, shape.AsReadOnly(), dataStart + offsets[0], bytes);
    }

    static long? ByteCount(List<long> shape, int size)
    {
        // sizes next to a zero must not overflow either, because libtorch multiplies them for its strides
        Int128 bytes = size;
        foreach (long extent in shape)
        {
            bytes *= Math.Max(extent, 1);
            if (bytes > long.MaxValue) return null;
        }
        return shape.Contains(0) ? 0 : (long)bytes;
    }

    static List<long> ReadNumbers(ref Utf8JsonReader reader, int atMost, string what, string path)
    {
        Expect(ref reader, JsonTokenType.StartArray, what, path);
        var numbers = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long number) || number < 0)
                throw new InvalidDataException(
                    $"{path}: {what} holds '{Encoding.UTF8.GetString(reader.ValueSpan[..Math.Min(reader.ValueSpan.Length, 40)])}'; expected whole "
                    + "numbers from 0");
            if (numbers.Count == atMost) throw new InvalidDataException($"{path}: {what} has more than {atMost} numbers");
            numbers.Add(number);
        }
        return numbers;
    }

    static string Shortened(string text) => text.Length <= 60 ? text : text[..60] + "...";

    static void CheckCoverage(List<SafetensorsEntry> entries, long dataStart, long dataBytes, string path)
    {
        long expected = dataStart;
        foreach (var entry in entries)
        {
            if (entry.Offset != expected)
                throw new InvalidDataException(
                    $"{path}: tensor '{entry.Name}' begins at offset {entry.Offset - dataStart}, "
                    + $"{(entry.Offset < expected ? "inside the tensor before it" : "after a gap")}; expected {expected - dataStart}");
            expected += entry.ByteCount;
        }
        if (expected != dataStart + dataBytes)
            throw new InvalidDataException($"{path}: the data is {dataBytes} bytes long, but its tensors end at {expected - dataStart}");
    }

    static void Expect(ref Utf8JsonReader reader, JsonTokenType token, string what, string path)
    {
        if (!reader.Read() || reader.TokenType != token) throw new InvalidDataException($"{path}: {what} is {reader.TokenType}; expected {token}");
    }

    /// <summary>Returns the bytes of the header, starting with its length, padded with spaces so that the data begins at a multiple of 8.</summary>
    public static byte[] Format(IReadOnlyList<(string Name, string Type, long[] Shape, long Bytes)> entries,
        IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                writer.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata.OrderBy(item => item.Key, StringComparer.Ordinal)) writer.WriteString(key, value);
                writer.WriteEndObject();
            }
            long offset = 0;
            foreach (var (name, type, shape, bytes) in entries)
            {
                writer.WriteStartObject(name);
                writer.WriteString("dtype", type);
                writer.WriteStartArray("shape");
                foreach (long extent in shape) writer.WriteNumberValue(extent);
                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(offset);
                writer.WriteNumberValue(offset += bytes);
                writer.WriteEndArray();
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        int length = (int)(buffer.Length + 7) / 8 * 8;
        if (length > MaximumBytes)
            throw Require.Unfit(null,
                $"the names, shapes and metadata have {length} bytes", $"at most {MaximumBytes}, the limit of a safetensors header");
        var result = new byte[8 + length];
        System.Buffers.Binary.BinaryPrimitives.WriteInt64LittleEndian(result, length);
        buffer.GetBuffer().AsSpan(0, (int)buffer.Length).CopyTo(result.AsSpan(8));
        result.AsSpan(8 + (int)buffer.Length).Fill((byte)' ');
        return result;
    }
}
