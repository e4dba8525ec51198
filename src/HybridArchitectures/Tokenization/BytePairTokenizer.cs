using System.Collections.Concurrent;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Byte-level BPE as most families of checkpoints have it in their <c>tokenizer.json</c> (Qwen, Granite, Falcon, LFM2, Nemotron, GPT-NeoX and
/// others): a text is cut by
/// the file's rules, and each piece's bytes are merged in the file's order.
/// </summary>
/// <remarks>
/// Spans cover a token's bytes, blanks before a word included unless the file asks to trim them (<c>trim_offsets</c>). The span of a character that
/// was composed from
/// several is the place of the first.
/// </remarks>
public sealed class BytePairTokenizer : Tokenizer
{
    const int Remembered = 1 << 16, MaxCachedLength = 256;

    readonly byte[]?[] tokens;
    readonly BytePairFile file;

    // the token of each character of the byte alphabet
    readonly int[] single = new int[ByteAlphabet.Size];
    readonly ConcurrentDictionary<string, int[]> known = new(StringComparer.Ordinal);
    int knownCount;

    BytePairTokenizer(BytePairFile file, byte[]?[] tokens, FolderTokens folder) : base(tokens.Length, file.Added)
    {
        (this.file, this.tokens) = (file, tokens);
        for (int character = 0; character < single.Length; character++)
            if (file.Vocabulary.TryGetValue(((char)character).ToString(), out int id)) single[character] = id;
        int? Find(string? text) => text is null ? null : file.Added.FirstOrDefault(token => token.Text == text)?.Id;
        BeginOfText = Find(file.BeginOfText);
        EndOfText = Find(folder.EndOfText);
        Padding = Find(folder.Padding);
        StopTokens = [.. new[] { EndOfText, Find("<|im_end|>"), Find("<|eot_id|>") }.OfType<int>().Concat(folder.Stop.Where(Contains)).Distinct()];
    }

    /// <summary>The token that the file's template puts before a text; null where it puts none.</summary>
    public override int? BeginOfText { get; }

    /// <summary>The <c>eos_token</c> of <c>tokenizer_config.json</c>.</summary>
    public override int? EndOfText { get; }

    /// <summary>The <c>pad_token</c> of <c>tokenizer_config.json</c>.</summary>
    public override int? Padding { get; }

    /// <summary>The end of a text, of a turn (<c>&lt;|im_end|&gt;</c>, <c>&lt;|eot_id|&gt;</c>), and the <c>eos_token_id</c> of
    /// <c>generation_config.json</c> or else of <c>config.json</c>.</summary>
    public override IReadOnlyList<int> StopTokens { get; }

    /// <summary>Loads a <c>tokenizer.json</c>; end and padding are read from <c>tokenizer_config.json</c>, <c>generation_config.json</c> and
    /// <c>config.json</c> next to it, if they are there.</summary>
    /// <param name="path">The file, or a folder that holds it.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">A file is damaged or of another kind; the message names the place and the reason.</exception>
    public static new BytePairTokenizer Load(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        if (Directory.Exists(path)) path = Path.Combine(path, FileName);
        if (!File.Exists(path)) throw new FileNotFoundException(HubNames.NoFile(path), path);
        var file = BytePairFile.Read(path);
        int largest = Math.Max(file.Vocabulary.Values.Max(), file.Added.Select(token => token.Id).DefaultIfEmpty(0).Max());
        var tokens = new byte[]?[largest + 1];
        foreach (var (spelling, id) in file.Vocabulary)
        {
            ByteAlphabet.TryRead(spelling, out var bytes);
            tokens[id] = bytes;
        }
        try
        {
            return new(file, tokens, FolderTokens.Read(Path.GetDirectoryName(Path.GetFullPath(path))!));
        }
        catch (ArgumentException error)
        {
            throw new InvalidDataException($"{path}: {HybridArchitectures.Design.Require.Text(error)}", error);
        }
    }

    /// <inheritdoc/>
    protected override void EncodePlain(string text, List<int> ids) => Encode(text, step: 0, ids);

    // the piece after the first steps
    void Encode(string piece, int step, List<int> ids)
    {
        if (step < file.Steps.Count)
            foreach (string inner in file.Steps[step](piece)) Encode(inner, step + 1, ids);
        else if (piece.Length > 0) EncodePiece(piece, ids);
    }

    void EncodePiece(string piece, List<int> ids)
    {
        if (file.TakesWhole && file.Vocabulary.TryGetValue(piece, out int whole))
        {
            ids.Add(whole);
            return;
        }
        if (known.TryGetValue(piece, out int[]? remembered))
        {
            ids.AddRange(remembered);
            return;
        }
        int[] merged = Merge(piece);
        ids.AddRange(merged);
        if (piece.Length > MaxCachedLength || !known.TryAdd(piece, merged) || Interlocked.Increment(ref knownCount) <= Remembered) return;
        known.Clear();
        Interlocked.Exchange(ref knownCount, 0);
    }

    /// <inheritdoc/>
    protected override ReadOnlySpan<byte> PlainBytes(int id) => tokens[id];

    private protected override (string Text, int[]? Origins) Normalized(string text) => file.Normalizes ? ComposedText.WithOrigins(text) : (text, null);

    private protected override TrimmedSpans? Trimming => file.Trimming;

    int[] Merge(string piece)
    {
        var parts = new int[piece.Length];
        for (int i = 0; i < parts.Length; i++) parts[i] = single[piece[i]];
        return file.Merges.Merge(parts);
    }
}
