using System.Text.Json;
using HybridArchitectures.Storage;
using Parquet.Serialization;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>
/// Reads the records of a local benchmark file: JSON lines (<c>.jsonl</c>, <c>.ndjson</c>), a JSON array (<c>.json</c>) or Parquet
/// (<c>.parquet</c>). The file is read as a whole.
/// </summary>
/// <remarks>
/// Parquet files are read with Parquet.Net, and not with the reader of training data (<see cref="HybridArchitectures.Training.Data.DocumentFile"/>).
/// That one streams a single column of text in bounded memory from files of any origin. Benchmarks have columns of numbers, lists and records, and
/// are small. Read only benchmark files whose origin you trust: the memory and time of a damaged file are not bounded.
/// </remarks>
public static class BenchmarkFile
{
    /// <summary>Reads all records of a file, in order.</summary>
    /// <param name="path">The path of the file.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">
    /// The file is damaged, has another format or more than 256 MiB, or is not a regular file (a named pipe, a device, a folder).
    /// The message names the line or record.
    /// </exception>
    public static IReadOnlyList<BenchmarkRecord> Read(string path)
    {
        Require.NotEmpty(path);
        RegularFile.Require(path);
        CheckSize(path);
        return Path.GetExtension(path).ToUpperInvariant() switch
        {
            ".JSONL" or ".NDJSON" => [.. FromLines(path)],
            ".JSON" => [.. FromArray(path)],
            ".PARQUET" => FromParquet(path),
            var other => throw new InvalidDataException($"{path}: the extension is '{other}'; expected .jsonl, .ndjson, .json or .parquet."),
        };
    }

    // one line may be the whole file
    static void CheckSize(string path)
    {
        long bytes = RegularFile.Describe(path).Bytes;
        if (bytes > BoundedFile.MaxTextBytes)
            throw new InvalidDataException($"{path}: the file has {bytes} bytes; expected at most {BoundedFile.MaxTextBytes}");
    }

    static IEnumerable<BenchmarkRecord> FromLines(string path)
    {
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (!string.IsNullOrWhiteSpace(line)) yield return Parse(line, $"{path}: line {number}");
        }
    }

    static BenchmarkRecord Parse(string json, string location)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return FromElement(document.RootElement, location);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)      // the latter for half a surrogate pair
        {
            throw new InvalidDataException($"{location}: {e.Message}", e);
        }
    }

    static List<BenchmarkRecord> FromArray(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            using var document = JsonDocument.Parse(stream);
            if (document.RootElement.ValueKind != JsonValueKind.Array) throw new InvalidDataException(
                $"{path}: the file holds no array; expected an array of objects.");
            return [.. document.RootElement.EnumerateArray().Select((item, index) => FromElement(item, $"{path}: record {index}"))];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)      // the latter for half a surrogate pair
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
    }

    static BenchmarkRecord FromElement(JsonElement element, string location) => element.ValueKind == JsonValueKind.Object
        ? new((IReadOnlyDictionary<string, object?>)Value(element)!, location)
        : throw new InvalidDataException($"{location}: the value is {element.ValueKind}; expected an object.");

    static object? Value(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => Members(element),
        JsonValueKind.Array => element.EnumerateArray().Select(Value).ToList(),
        JsonValueKind.String => element.GetString(),
        JsonValueKind.Number => element.TryGetInt64(out long whole) ? whole : element.GetDouble(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => null,
    };

    static Dictionary<string, object?> Members(JsonElement element)
    {
        var members = new Dictionary<string, object?>();
        foreach (var member in element.EnumerateObject()) members[member.Name] = Value(member.Value);
        return members;
    }

    static List<BenchmarkRecord> FromParquet(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            var read = ParquetSerializer.DeserializeUntypedAsync(stream).GetAwaiter().GetResult();
            return [.. read.Data.Select((row, index) => new BenchmarkRecord(
                Plain(row.Select(item => KeyValuePair.Create(item.Key, (object?)item.Value))), $"{path}: row {index}"))];
        }
        catch (Exception e) when (e is not (InvalidDataException or OutOfMemoryException))
        {
            // the reader fails in many ways at bytes that are not parquet
            throw new InvalidDataException($"{path}: the file cannot be read as parquet: {e.Message}", e);
        }
    }

    static Dictionary<string, object?> Plain(IEnumerable<KeyValuePair<string, object?>> row) =>
        row.ToDictionary(item => item.Key, item => Plain(item.Value));

    static object? Plain(object? value) => value switch
    {
        IDictionary<string, object?> record => Plain((IEnumerable<KeyValuePair<string, object?>>)record),
        byte[] bytes => System.Text.Encoding.UTF8.GetString(bytes),
        string or null => value,
        System.Collections.IEnumerable list => list.Cast<object?>().Select(Plain).ToList(),
        ReadOnlyMemory<char> text => text.ToString(),
        ReadOnlyMemory<byte> bytes => System.Text.Encoding.UTF8.GetString(bytes.Span),
        _ => value,
    };
}
