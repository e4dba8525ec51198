using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using HybridArchitectures.Design;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Describes the input of a folder of shards: <c>shards.json</c>, which is written before the first shard. A later run compares it to decide whether
/// it can continue.
/// </summary>
sealed record ShardPlan
{
    public const string FileName = "shards.json";
    const int CurrentVersion = 2;
    const string Probe = "The quick brown fox: 0123456789, größer — 東京 🦊\n\t";
    const long MaxBytes = 1 << 28;      // about a million files

    static readonly JsonTypeInfo<ShardPlan> Json = (JsonTypeInfo<ShardPlan>)new JsonSerializerOptions
    {
        TypeInfoResolver = ShardJsonContext.Default.WithAddedModifier(InitOnlyDefaults.Keep),
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        Converters = { new JsonStringEnumConverter<DocumentLayout>() },
    }.GetTypeInfo(typeof(ShardPlan));

    public sealed record Source(string Path, long Bytes, DateTime Written);

    public required int Version { get; init; }

    public required int VocabularySize { get; init; }

    /// <summary>Gets or sets the tokens of a probe text, which identify the tokenizer.</summary>
    public required string Tokenizer { get; init; }

    public required string TextColumn { get; init; }

    public required bool BeginOfText { get; init; }

    public required bool EndOfText { get; init; }

    public required int TokensPerShard { get; init; }

    public required IReadOnlyList<Source> Files { get; init; }

    // plans of earlier versions do not have these two
    public DocumentLayout Layout { get; init; } = DocumentLayout.Automatic;

    public int MaxDocumentBytes { get; init; } = DocumentFileOptions.DefaultMaxDocumentBytes;

    public static ShardPlan Create(IEnumerable<string> files, Tokenizer tokenizer, ShardingOptions options) => new()
    {
        Version = CurrentVersion, VocabularySize = tokenizer.VocabularySize, Tokenizer = string.Join(' ', tokenizer.Encode(Probe)),
        TextColumn = options.TextColumn,
        BeginOfText = options.BeginOfText, EndOfText = options.EndOfText, TokensPerShard = options.TokensPerShard,
        Layout = options.Layout, MaxDocumentBytes = options.MaxDocumentBytes,
        Files = [.. files.Select(Describe)],
    };

    static Source Describe(string path)
    {
        var (bytes, changed) = RegularFile.Describe(path);
        return new(System.IO.Path.GetFullPath(path), bytes, changed);
    }

    /// <summary>Writes the plan.</summary>
    /// <exception cref="ArgumentException">The plan is longer than <see cref="Read"/> accepts.</exception>
    public void Write(string folder)
    {
        var json = JsonSerializer.Serialize(this, Json);
        if (json.Length > MaxBytes)
            throw Require.Unfit(null, $"files has {Files.Count} files, whose names have {json.Length} bytes", $"at most {MaxBytes}");
        AtomicWrite.Text(System.IO.Path.Combine(folder, FileName), json);
    }

    public static ShardPlan? Read(string folder)
    {
        var path = System.IO.Path.Combine(folder, FileName);
        if (!File.Exists(path)) return null;
        RegularFile.Require(path);
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            if (stream.Length > MaxBytes) throw new JsonException($"the file has {stream.Length} bytes; expected at most {MaxBytes}");
            using var reader = new StreamReader(stream);
            var text = reader.ReadToEnd();
            FormatVersion.Require(text, CurrentVersion);
            return JsonSerializer.Deserialize(text, Json) ?? throw new JsonException("the file is null; expected an object");
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Returns the difference to another plan as text, or null if there is none.</summary>
    public string? Difference(ShardPlan other)
    {
        if (VocabularySize != other.VocabularySize || Tokenizer != other.Tokenizer) return "the tokenizer";
        if (TextColumn != other.TextColumn) return $"the text column ('{other.TextColumn}')";
        if ((BeginOfText, EndOfText) != (other.BeginOfText, other.EndOfText)) return "the tokens between documents";
        if (TokensPerShard != other.TokensPerShard) return $"the size of shards ({other.TokensPerShard})";
        if (Layout != other.Layout) return $"the layout of files ({other.Layout})";
        if (MaxDocumentBytes != other.MaxDocumentBytes) return $"the size of documents ({other.MaxDocumentBytes})";
        if (Files.Count != other.Files.Count) return $"the number of files ({other.Files.Count})";
        var changed = Files.Zip(other.Files).FirstOrDefault(pair => pair.First != pair.Second);
        return changed.First is null ? null
            : $"'{changed.First.Path}' (it was '{changed.Second.Path}', {changed.Second.Bytes} bytes of {changed.Second.Written:u})";
    }
}
