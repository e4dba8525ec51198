using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Byte-level BPE as most families of checkpoints have it in their <c>tokenizer.json</c> (Qwen, Granite, Falcon, LFM2, Nemotron, GPT-NeoX and others): a text is cut by the file's rules, and each
/// piece's bytes are merged in the file's order.
/// </summary>
/// <remarks>Spans cover a token's bytes, blanks before a word too; a character that others join has its own place alone.</remarks>
public sealed class BytePairTokenizer : Tokenizer
{
    const int Remembered = 1 << 16, LongestRemembered = 256;

    readonly byte[]?[] tokens;
    readonly BytePairFile file;
    readonly Dictionary<(int Left, int Right), (int Rank, int Whole)> merges;
    readonly ConcurrentDictionary<string, int[]> known = new(StringComparer.Ordinal);

    BytePairTokenizer(BytePairFile file, byte[]?[] tokens, Ends ends) : base(tokens.Length, file.Added)
    {
        (this.file, this.tokens) = (file, tokens);
        merges = new(file.Merges.Count);
        foreach (var (rank, merge) in file.Merges.Index()) merges.Add((merge.Left, merge.Right), (rank, merge.Whole));
        int? Find(string? text) => text is null ? null : file.Added.FirstOrDefault(token => token.Text == text)?.Id;
        BeginOfText = Find(file.BeginOfText);
        EndOfText = Find(ends.EndOfText);
        Padding = Find(ends.Padding);
        StopTokens = [.. new[] { EndOfText, Find("<|im_end|>"), Find("<|eot_id|>") }.OfType<int>().Concat(ends.Stop.Where(Contains)).Distinct()];
    }

    /// <summary>The token that the file's template puts before a text; null where it puts none.</summary>
    public override int? BeginOfText { get; }

    /// <summary>The <c>eos_token</c> of <c>tokenizer_config.json</c>.</summary>
    public override int? EndOfText { get; }

    /// <summary>The <c>pad_token</c> of <c>tokenizer_config.json</c>.</summary>
    public override int? Padding { get; }

    /// <summary>The end of a text, of a turn (<c>&lt;|im_end|&gt;</c>, <c>&lt;|eot_id|&gt;</c>), and the <c>eos_token_id</c> of <c>generation_config.json</c>.</summary>
    public override IReadOnlyList<int> StopTokens { get; }

    /// <summary>Loads a <c>tokenizer.json</c>; what else it needs to know is in <c>tokenizer_config.json</c> and <c>generation_config.json</c> beside it, if they are there.</summary>
    /// <param name="path">The file, or a folder that holds it.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">A file is damaged or of another kind; the message names the place and the reason.</exception>
    public static new BytePairTokenizer Load(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        if (Directory.Exists(path)) path = Path.Combine(path, FileName);
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'", path);
        var file = BytePairFile.Read(path);
        int largest = file.Vocabulary.Values.Concat(file.Added.Select(token => token.Id)).Max();
        var tokens = new byte[]?[largest + 1];
        foreach (var (spelling, id) in file.Vocabulary)
        {
            ByteAlphabet.TryRead(spelling, out var bytes);
            tokens[id] = bytes;
        }
        try
        {
            return new(file, tokens, Ends.Beside(path));
        }
        catch (ArgumentException error)
        {
            throw new InvalidDataException($"{path}: {HybridArchitectures.Design.Require.Text(error)}", error);
        }
    }

    /// <inheritdoc/>
    protected override void EncodePlain(string text, List<int> ids)
    {
        if (file.Normalizes) text = ComposedText.Of(text);
        IEnumerable<string> pieces = [text];
        foreach (var step in file.Steps) pieces = pieces.SelectMany(step);
        foreach (string piece in pieces)
        {
            if (piece.Length == 0) continue;
            if (file.TakesWhole && file.Vocabulary.TryGetValue(piece, out int whole)) ids.Add(whole);
            else if (piece.Length > LongestRemembered) ids.AddRange(Merge(piece));
            else
            {
                if (known.Count > Remembered) known.Clear();
                ids.AddRange(known.GetOrAdd(piece, Merge));
            }
        }
    }

    /// <inheritdoc/>
    protected override ReadOnlySpan<byte> PlainBytes(int id) => tokens[id];

    private protected override (string Text, int[]? Origins) Normalized(string text) => file.Normalizes ? ComposedText.WithOrigins(text) : (text, null);

    // earliest merges first, of equal ones the leftmost
    int[] Merge(string piece)
    {
        int count = piece.Length;
        var parts = new int[count];
        for (int i = 0; i < count; i++) parts[i] = file.Vocabulary[piece[i].ToString()];
        int[] next = [.. Enumerable.Range(1, count)], previous = [.. Enumerable.Range(-1, count)];
        var candidates = new PriorityQueue<(int Start, int Left, int Right, int Whole), (int Rank, int Start)>();
        for (int start = 0; start + 1 < count; start++) Offer(start);
        while (candidates.TryDequeue(out var pair, out _))
        {
            int right = next[pair.Start];
            // one of the two may have been merged otherwise meanwhile
            if (parts[pair.Start] != pair.Left || right >= count || parts[right] != pair.Right) continue;
            parts[pair.Start] = pair.Whole;
            parts[right] = -1;
            next[pair.Start] = next[right];
            if (next[right] < count) previous[next[right]] = pair.Start;
            Offer(pair.Start);
            if (pair.Start > 0) Offer(previous[pair.Start]);
        }
        return [.. parts.Where(part => part >= 0)];

        void Offer(int start)
        {
            if (next[start] < count && merges.TryGetValue((parts[start], parts[next[start]]), out var merge))
                candidates.Enqueue((start, parts[start], parts[next[start]], merge.Whole), (merge.Rank, start));
        }
    }

    /// <summary>What the files beside a <c>tokenizer.json</c> say of ends.</summary>
    sealed record Ends(string? EndOfText, string? Padding, IReadOnlyList<int> Stop)
    {
        public static Ends Beside(string path)
        {
            string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
            string? Text(JsonElement? value) => value is not { } given ? null
                : given.ValueKind == JsonValueKind.String ? given.GetString() : given.ValueKind == JsonValueKind.Object && given.TryGetProperty("content", out var content) ? Text(content) : null;
            var config = Read(Path.Combine(folder, "tokenizer_config.json"));
            var stop = Read(Path.Combine(folder, "generation_config.json"))("eos_token_id");
            IEnumerable<JsonElement> ids = stop is not { } found ? [] : found.ValueKind == JsonValueKind.Array ? found.EnumerateArray() : [found];
            return new(Text(config("eos_token")), Text(config("pad_token")), [.. ids.Where(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out _)).Select(id => id.GetInt32())]);
        }

        static Func<string, JsonElement?> Read(string path)
        {
            if (!File.Exists(path)) return _ => null;
            using var document = JsonPart.Parse(path);
            var root = document.RootElement.Clone();
            if (root.ValueKind != JsonValueKind.Object) throw new InvalidDataException($"{path}: {root.ValueKind}; expected an object");
            return key => root.TryGetProperty(key, out var value) ? value : null;
        }
    }
}
