using System.Collections.Concurrent;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Implements byte-level BPE as described by a <c>tokenizer.json</c>, the format of Qwen, Granite, Falcon, LFM2, Nemotron, GPT-NeoX and other
/// families. The rules of the file split a text, and the bytes of each piece are merged in the order of the file.
/// </summary>
/// <remarks>
/// A span covers all bytes of a token, including spaces before a word unless the file trims them (<c>trim_offsets</c>). If a character was composed
/// from several characters, its span is that of the first one.
/// </remarks>
public sealed class BytePairTokenizer : Tokenizer
{
    const int Remembered = 1 << 16, MaxCachedLength = 256;

    readonly byte[]?[] tokens;
    readonly BytePairFile file;

    // maps each character of the byte alphabet to its token
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

    /// <summary>Gets the token that the template of the file puts before a text. Null if there is none.</summary>
    public override int? BeginOfText { get; }

    /// <summary>Gets the <c>eos_token</c> of <c>tokenizer_config.json</c>. Null if there is none.</summary>
    public override int? EndOfText { get; }

    /// <summary>Gets the <c>pad_token</c> of <c>tokenizer_config.json</c>. Null if there is none.</summary>
    public override int? Padding { get; }

    /// <summary>
    /// Gets the tokens that end a text or a turn (<c>&lt;|im_end|&gt;</c>, <c>&lt;|eot_id|&gt;</c>), and the <c>eos_token_id</c> of
    /// <c>generation_config.json</c>, or else of <c>config.json</c>.
    /// </summary>
    public override IReadOnlyList<int> StopTokens { get; }

    /// <summary>
    /// Loads a <c>tokenizer.json</c>. The end-of-text and padding tokens are read from <c>tokenizer_config.json</c>, <c>generation_config.json</c>
    /// and <c>config.json</c> in the same folder, if these files exist.
    /// </summary>
    /// <param name="path">The file, or the folder that contains it.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">A file is damaged or has another format. The message names the position and the reason.</exception>
    public static new BytePairTokenizer Load(string path)
    {
        Require.NotBlank(path);
        if (Directory.Exists(path)) path = Path.Combine(path, FileName);
        if (!File.Exists(path)) throw new FileNotFoundException(HubNames.NoFile(path), path);
        var file = BytePairFile.Read(path);
        int maxId = Math.Max(file.Vocabulary.Values.Max(), file.Added.Select(token => token.Id).DefaultIfEmpty(0).Max());
        var tokens = new byte[]?[maxId + 1];
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
            throw new InvalidDataException($"{path}: {Require.Text(error)}", error);
        }
    }

    /// <inheritdoc/>
    protected override void EncodePlain(string text, List<int> ids) => Encode(text, step: 0, ids);

    // encodes a piece that the first steps have produced
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

    private protected override (string Text, int[]? Origins) Normalized(string text) =>
        file.Normalizes ? ComposedText.WithOrigins(text) : (text, null);

    private protected override TrimmedSpans? Trimming => file.Trimming;

    int[] Merge(string piece)
    {
        var parts = new int[piece.Length];
        for (int i = 0; i < parts.Length; i++) parts[i] = single[piece[i]];
        return file.Merges.Merge(parts);
    }
}
