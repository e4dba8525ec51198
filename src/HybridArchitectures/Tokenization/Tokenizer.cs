using System.Buffers;
using System.Text;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Converts text to token ids and back. The concatenated bytes of the tokens are the text in UTF-8. An unpaired surrogate in a text becomes U+FFFD.
/// Instances are thread-safe.
/// </summary>
public abstract class Tokenizer
{
    readonly Dictionary<string, AddedToken> addedByText = new(StringComparer.Ordinal);
    readonly Dictionary<int, AddedToken> addedById = [];
    readonly Lazy<(AddedTokenMatcher Given, AddedTokenMatcher Normalized)> anyAdded, ordinaryAdded;
    readonly Lazy<AddedTokenMatcher> specialAlone;

    /// <summary>Initializes a tokenizer with tokens in addition to its learned vocabulary.</summary>
    /// <param name="vocabularySize">One more than the maximum id, including added tokens.</param>
    /// <param name="addedTokens">The added tokens.</param>
    /// <exception cref="ArgumentException">Two tokens have the same id or text, a text is empty, or an id is outside the vocabulary.</exception>
    protected Tokenizer(int vocabularySize, IEnumerable<AddedToken> addedTokens)
    {
        Require.AtLeast(vocabularySize, 1);
        ArgumentNullException.ThrowIfNull(addedTokens);
        VocabularySize = vocabularySize;
        foreach (var token in addedTokens)
        {
            if (string.IsNullOrEmpty(token.Text)) throw Require.Unfit(nameof(addedTokens), $"added token {token.Id} has no text", "a text");
            if (token.Id < 0 || token.Id >= vocabularySize)
                throw Require.Unfit(nameof(addedTokens), $"added token \"{token.Text}\" has id {token.Id}", $"0 to {vocabularySize - 1}");
            if (!addedByText.TryAdd(token.Text, token))
                throw Require.Unfit(nameof(addedTokens), $"added token \"{token.Text}\" occurs twice", "each text once");
            if (!addedById.TryAdd(token.Id, token))
                throw Require.Unfit(nameof(addedTokens),
                    $"added tokens \"{addedById[token.Id].Text}\" and \"{token.Text}\" share id {token.Id}", "each id once");
        }
        SpecialTokens = addedByText.Values.Where(token => token.Special).ToDictionary(token => token.Text, token => token.Id, StringComparer.Ordinal);
        specialAlone = new(() => new(addedByText.Values.Where(token => token.Special).Select(token => (token.Text, token))));
        anyAdded = new(() => Matchers(addedByText.Values));
        ordinaryAdded = new(() => Matchers(addedByText.Values.Where(token => !token.Special)));
    }

    private protected const string FileName = "tokenizer.json";

    /// <summary>
    /// Reads the ids that end a text from the folder of a checkpoint: <c>eos_token_id</c>, a number or a list, of <c>generation_config.json</c>, or
    /// else of <c>config.json</c>. Use it for models without a tokenizer. Tokenizers include these ids in <see cref="StopTokens"/>.
    /// </summary>
    /// <param name="folder">The folder. Missing files are ignored.</param>
    /// <returns>The ids. Empty if no file contains one.</returns>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    /// <exception cref="InvalidDataException">A file is damaged. The message names the position and the reason.</exception>
    public static IReadOnlyList<int> ReadStopTokens(string folder)
    {
        Require.NotBlank(folder);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        return FolderTokens.ReadStop(folder);
    }

    /// <summary>
    /// Loads the tokenizer of a checkpoint. The result is a <see cref="Llama3Tokenizer"/>, which has a chat template, for Llama 3, and a
    /// <see cref="BytePairTokenizer"/> for any other byte-level BPE.
    /// </summary>
    /// <param name="path">A folder, a <c>tokenizer.json</c>, or a rank file (<c>tokenizer.model</c>).</param>
    /// <exception cref="FileNotFoundException">
    /// The file does not exist. If the path has the form of a name on the Hugging Face Hub, the message explains how to download the folder.
    /// </exception>
    /// <exception cref="InvalidDataException">The file is damaged or has another format. The message names the position and the reason.</exception>
    public static Tokenizer Load(string path)
    {
        Require.NotBlank(path);
        string json = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        if (!json.EndsWith(".json", StringComparison.OrdinalIgnoreCase) || !File.Exists(json)) return Llama3Tokenizer.Load(path);
        return Llama3Tokenizer.IsLlama3(json) ? Llama3Tokenizer.Load(json) : BytePairTokenizer.Load(json);
    }

    /// <summary>Gets the number of token ids: one more than the maximum id, including special tokens.</summary>
    public int VocabularySize { get; }

    /// <summary>Gets the special tokens as a map from text to id.</summary>
    public IReadOnlyDictionary<string, int> SpecialTokens { get; }

    /// <summary>Gets the token that begins a text. Null if there is none.</summary>
    public abstract int? BeginOfText { get; }

    /// <summary>Gets the token that ends a text. Null if there is none.</summary>
    public abstract int? EndOfText { get; }

    /// <summary>Gets the padding token. Null if there is none.</summary>
    public abstract int? Padding { get; }

    /// <summary>Gets the tokens at which generation ends.</summary>
    public virtual IReadOnlyList<int> StopTokens => EndOfText is { } id ? [id] : [];

    /// <summary>Returns whether a token has this id.</summary>
    public bool Contains(int id) => addedById.ContainsKey(id) || (id >= 0 && id < VocabularySize && PlainBytes(id).Length > 0);

    /// <summary>Returns the bytes of a token. For an added token, these are the UTF-8 bytes of its text.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No token has this id.</exception>
    public ReadOnlySpan<byte> Bytes(int id)
    {
        if (addedById.TryGetValue(id, out var token)) return Encoding.UTF8.GetBytes(token.Text);
        var bytes = id < 0 || id >= VocabularySize ? default : PlainBytes(id);
        return bytes.Length > 0
            ? bytes
            : throw Require.OutOfRange(nameof(id), id, $"the id of a token, 0 to {VocabularySize - 1}");
    }

    /// <summary>Returns the printable spelling of a token ("Ġhello" for " hello"). An added token is returned as its text.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No token has this id.</exception>
    public string Spelling(int id) => addedById.TryGetValue(id, out var token) ? token.Text : ByteAlphabet.Spell(Bytes(id));

    /// <summary>Returns whether the id belongs to a special token.</summary>
    public bool IsSpecial(int id) => addedById.TryGetValue(id, out var token) && token.Special;

    /// <summary>Converts a text to token ids.</summary>
    /// <param name="text">The text.</param>
    /// <param name="beginOfText">Whether <see cref="BeginOfText"/> is put before the text. The default is false.</param>
    /// <param name="recognizeSpecial">
    /// Whether special tokens in the text are recognized. The default is false. Keep it off for text that you do not trust.
    /// </param>
    /// <returns>The token ids.</returns>
    /// <exception cref="ArgumentException"><paramref name="beginOfText"/> is true, but the tokenizer has no such token.</exception>
    public int[] Encode(string text, bool beginOfText = false, bool recognizeSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        List<int> ids = beginOfText ? [RequireBeginOfText()] : [];
        EncodeInto(WellFormed(text), recognizeSpecial, ids);
        return [.. ids];
    }

    /// <summary>Converts a text to token ids with the position of each token in the text.</summary>
    /// <inheritdoc cref="Encode"/>
    public TokenizedText EncodeWithSpans(string text, bool beginOfText = false, bool recognizeSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        var (ids, spans) = Located(text, beginOfText, recognizeSpecial);
        return new(ids, spans, new int[ids.Count]);
    }

    /// <summary>Converts a pair of texts to token ids. Each text has a separate begin-of-text token, if requested, and separate spans.</summary>
    /// <inheritdoc cref="Encode"/>
    public TokenizedText EncodePair(string first, string second, bool beginOfText = false, bool recognizeSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        var (ids, spans) = Located(first, beginOfText, recognizeSpecial);
        var types = Enumerable.Repeat(0, ids.Count).ToList();
        var (secondIds, secondSpans) = Located(second, beginOfText, recognizeSpecial);
        ids.AddRange(secondIds);
        spans.AddRange(secondSpans);
        types.AddRange(Enumerable.Repeat(1, secondIds.Count));
        return new(ids, spans, types);
    }

    /// <summary>Converts token ids to text. Invalid bytes, including an incomplete character at the end, become U+FFFD.</summary>
    /// <param name="ids">The token ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are omitted. The default is false.</param>
    /// <exception cref="ArgumentOutOfRangeException">No token has one of the ids.</exception>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = false)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var bytes = new ArrayBufferWriter<byte>();
        foreach (int id in ids)
        {
            var token = Bytes(id);
            if (!skipSpecialTokens || !IsSpecial(id)) bytes.Write(token);
        }
        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }

    /// <summary>Creates a decoder that accepts tokens one at a time.</summary>
    /// <param name="skipSpecialTokens">Whether special tokens are omitted. The default is false.</param>
    public StreamingDecoder CreateDecoder(bool skipSpecialTokens = false) => new(this, skipSpecialTokens);

    /// <summary>Appends the tokens of a text without added tokens. The text is well-formed UTF-16 and not empty.</summary>
    protected abstract void EncodePlain(string text, List<int> ids);

    /// <summary>
    /// Returns the bytes of a token of the learned vocabulary, at least one. Empty if no token has this id. The id is below the vocabulary size.
    /// </summary>
    protected abstract ReadOnlySpan<byte> PlainBytes(int id);

    /// <summary>
    /// Encodes a text and recognizes its special tokens, except those that contain a mark. The mark is removed, and the token is treated as plain
    /// text.
    /// </summary>
    internal int[] EncodeMarked(string text, char mark)
    {
        var ids = new List<int>();
        var plain = new StringBuilder();
        text = WellFormed(text);
        foreach (var (start, end, token) in specialAlone.Value.Cut(text))
        {
            if (token is null) plain.Append(text, start, end - start);
            else
            {
                Flush();
                ids.Add(token.Id);
            }
        }
        Flush();
        return [.. ids];

        void Flush()
        {
            if (plain.Length > 0) EncodeInto(plain.Replace(mark.ToString(), "").ToString(), recognizeSpecial: false, ids);
            plain.Clear();
        }
    }

    /// <summary>
    /// Returns the text that is tokenized instead of the given text, and for each of its characters the index of the original character. The indexes
    /// are null if the texts are equal.
    /// </summary>
    private protected virtual (string Text, int[]? Origins) Normalized(string text) => (text, null);

    /// <summary>Gets how white space is removed from spans. Null if spans include it.</summary>
    private protected virtual TrimmedSpans? Trimming => null;

    int RequireBeginOfText() => BeginOfText
        ?? throw Require.Unfit("beginOfText", "beginOfText is true, but the tokenizer has no such token", "false");

    void EncodeInto(string text, bool recognizeSpecial, List<int> ids, List<TextSpan>? spans = null)
    {
        var matchers = (recognizeSpecial ? anyAdded : ordinaryAdded).Value;
        int first = 0;
        foreach (var (start, end, token) in matchers.Given.Cut(text))
        {
            string piece = text[start..end];
            int last = spans is null ? 0 : first + CountCharacters(piece);
            if (token is null) EncodeNormalized(piece, matchers.Normalized, ids, spans, first);
            else
            {
                ids.Add(token.Id);
                spans?.Add(new(first, last));
            }
            first = last;
        }
    }

    // origin: the index in the text of the first character of the piece
    void EncodeNormalized(string piece, AddedTokenMatcher matcher, List<int> ids, List<TextSpan>? spans, int first)
    {
        var (text, origins) = Normalized(piece);
        int begin = 0;
        foreach (var (start, end, token) in matcher.Cut(text))
        {
            string part = text[start..end];
            int known = ids.Count, last = spans is null ? 0 : begin + CountCharacters(part);
            TextSpan Given(int from, int to) => origins is null ? new(first + from, first + to)
                : new(first + origins[from], first + origins[to - 1] + 1);
            if (token is not null) ids.Add(token.Id);
            else EncodePlain(part, ids);
            if (token is not null) spans?.Add(Given(begin, last));
            else if (spans is not null) Locate(part, ids, known, begin, Given, spans);
            begin = last;
        }
    }

    // the bytes of a token are the characters of the text; both are read at the same time
    void Locate(string text, List<int> ids, int known, int begin, Func<int, int, TextSpan> given, List<TextSpan> spans)
    {
        int character = begin - 1, characterEnd = 0, tokenEnd = 0;
        var runes = text.EnumerateRunes();
        void MoveTo(int position)
        {
            while (characterEnd <= position && runes.MoveNext())
            {
                character++;
                characterEnd += runes.Current.Utf8SequenceLength;
            }
        }
        for (int i = known; i < ids.Count; i++)
        {
            MoveTo(tokenEnd);
            int first = character;
            tokenEnd += Bytes(ids[i]).Length;
            MoveTo(tokenEnd - 1);
            spans.Add(given(first, character + 1));
        }
    }

    (List<int> Ids, List<TextSpan> Spans) Located(string text, bool beginOfText, bool recognizeSpecial)
    {
        var ids = new List<int>();
        var spans = new List<TextSpan>();
        EncodeInto(WellFormed(text), recognizeSpecial, ids, spans);
        if (Trimming is { } trimming)
        {
            var characters = new Lazy<Rune[]>(() => [.. WellFormed(text).EnumerateRunes()]);
            for (int i = 0; i < ids.Count; i++) spans[i] = trimming.Trim(Written(ids[i], spans[i]), spans[i], isFirst: i == 0);

            // a token that includes white space is spelled with it
            string Written(int id, TextSpan span) => addedById.TryGetValue(id, out var token) && (token.LeftStrip || token.RightStrip)
                ? string.Concat(characters.Value[span.Start..span.End]) : Spelling(id);
        }
        if (!beginOfText) return (ids, spans);
        ids.Insert(0, RequireBeginOfText());
        spans.Insert(0, default);
        return (ids, spans);
    }

    static int CountCharacters(string text)
    {
        int count = 0;
        foreach (char unit in text)
            if (!char.IsLowSurrogate(unit)) count++;
        return count;
    }

    (AddedTokenMatcher Given, AddedTokenMatcher Normalized) Matchers(IEnumerable<AddedToken> tokens) => (
        new(tokens.Where(token => !token.Normalized).Select(token => (token.Text, token))),
        new(tokens.Where(token => token.Normalized).Select(token => (Normalized(WellFormed(token.Text)).Text, token))));

    // UTF-8 cannot represent unpaired surrogates
    static string WellFormed(string text) => text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF') < 0 ? text
        : Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
}
