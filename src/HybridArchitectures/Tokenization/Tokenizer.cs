using System.Buffers;
using System.Text;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Text to token ids and back. The bytes of a text's tokens, one after another, are the text in UTF-8; a lone surrogate in a text counts as U+FFFD.
/// Safe to use from several threads at once.
/// </summary>
public abstract class Tokenizer
{
    readonly Dictionary<string, AddedToken> addedByText = new(StringComparer.Ordinal);
    readonly Dictionary<int, AddedToken> addedById = [];
    readonly Lazy<(AddedTokenMatcher Given, AddedTokenMatcher Normalized)> anyAdded, ordinaryAdded;
    readonly Lazy<AddedTokenMatcher> specialAlone;

    /// <summary>A tokenizer with these tokens beside its learned vocabulary.</summary>
    /// <param name="vocabularySize">One more than the largest id, added tokens included.</param>
    /// <param name="addedTokens">The added tokens.</param>
    /// <exception cref="ArgumentException">Two tokens share an id or a text, a text is empty, or an id lies outside the vocabulary.</exception>
    protected Tokenizer(int vocabularySize, IEnumerable<AddedToken> addedTokens)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(vocabularySize);
        ArgumentNullException.ThrowIfNull(addedTokens);
        VocabularySize = vocabularySize;
        foreach (var token in addedTokens)
        {
            if (string.IsNullOrEmpty(token.Text)) throw new ArgumentException($"added token {token.Id} has no text", nameof(addedTokens));
            if (token.Id < 0 || token.Id >= vocabularySize)
                throw new ArgumentException($"added token \"{token.Text}\" has id {token.Id}; expected 0 to {vocabularySize - 1}", nameof(addedTokens));
            if (!addedByText.TryAdd(token.Text, token)) throw new ArgumentException($"added token \"{token.Text}\" is given twice", nameof(addedTokens));
            if (!addedById.TryAdd(token.Id, token))
                throw new ArgumentException($"added tokens \"{addedById[token.Id].Text}\" and \"{token.Text}\" share id {token.Id}", nameof(addedTokens));
        }
        SpecialTokens = addedByText.Values.Where(token => token.Special).ToDictionary(token => token.Text, token => token.Id, StringComparer.Ordinal);
        specialAlone = new(() => new(addedByText.Values.Where(token => token.Special).Select(token => (token.Text, token))));
        anyAdded = new(() => Matchers(addedByText.Values));
        ordinaryAdded = new(() => Matchers(addedByText.Values.Where(token => !token.Special)));
    }

    private protected const string FileName = "tokenizer.json";

    /// <summary>
    /// Reads the ids that end a text from a checkpoint's folder: <c>eos_token_id</c>, a number or a list, of <c>generation_config.json</c>, or else
    /// of <c>config.json</c>.
    /// Loaded tokenizers have them among their <see cref="StopTokens"/>; this is for models without a tokenizer.
    /// </summary>
    /// <param name="folder">The folder. Files that it lacks are passed over.</param>
    /// <returns>The ids; empty if no file names one.</returns>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="InvalidDataException">A file is damaged; the message names the place and the reason.</exception>
    public static IReadOnlyList<int> ReadStopTokens(string folder)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(folder);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        return FolderTokens.ReadStop(folder);
    }

    /// <summary>Loads the tokenizer of a checkpoint: Llama 3's as <see cref="Llama3Tokenizer"/>, which knows its chat template, another byte-level BPE as <see cref="BytePairTokenizer"/>.</summary>
    /// <param name="path">A folder, a <c>tokenizer.json</c>, or a rank file (<c>tokenizer.model</c>).</param>
    /// <exception cref="FileNotFoundException">There is no such file. If the path reads like a name on the Hugging Face Hub, the message says how to
    /// get the folder.</exception>
    /// <exception cref="InvalidDataException">The file is damaged or of another kind; the message names the place and the reason.</exception>
    public static Tokenizer Load(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        string json = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        if (!json.EndsWith(".json", StringComparison.OrdinalIgnoreCase) || !File.Exists(json)) return Llama3Tokenizer.Load(path);
        return Llama3Tokenizer.IsLlama3(json) ? Llama3Tokenizer.Load(json) : BytePairTokenizer.Load(json);
    }

    /// <summary>One more than the largest id, special tokens included.</summary>
    public int VocabularySize { get; }

    /// <summary>The special tokens: text to id.</summary>
    public IReadOnlyDictionary<string, int> SpecialTokens { get; }

    /// <summary>The token that begins a text, or null if there is none.</summary>
    public abstract int? BeginOfText { get; }

    /// <summary>The token that ends a text, or null if there is none.</summary>
    public abstract int? EndOfText { get; }

    /// <summary>The token that fills up shorter rows, or null if there is none.</summary>
    public abstract int? Padding { get; }

    /// <summary>The tokens after which a model has nothing more to say.</summary>
    public virtual IReadOnlyList<int> StopTokens => EndOfText is { } id ? [id] : [];

    /// <summary>Whether a token has this id.</summary>
    public bool Contains(int id) => addedById.ContainsKey(id) || (id >= 0 && id < VocabularySize && PlainBytes(id).Length > 0);

    /// <summary>The bytes a token stands for; the UTF-8 of its text for an added token.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No token has this id.</exception>
    public ReadOnlySpan<byte> Bytes(int id)
    {
        if (addedById.TryGetValue(id, out var token)) return Encoding.UTF8.GetBytes(token.Text);
        var bytes = id < 0 || id >= VocabularySize ? default : PlainBytes(id);
        return bytes.Length > 0 ? bytes : throw new ArgumentOutOfRangeException(nameof(id), id, $"no token has this id; the vocabulary has {VocabularySize}");
    }

    /// <summary>The token in the printable spelling of byte-level vocabularies ("Ġhello" for " hello"); an added token as it is written.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No token has this id.</exception>
    public string Spelling(int id) => addedById.TryGetValue(id, out var token) ? token.Text : ByteAlphabet.Spell(Bytes(id));

    /// <summary>Whether the id is a special token's.</summary>
    public bool IsSpecial(int id) => addedById.TryGetValue(id, out var token) && token.Special;

    /// <summary>The tokens of a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="beginOfText">Whether <see cref="BeginOfText"/> is put before it.</param>
    /// <param name="recognizeSpecial">Whether special tokens written in the text become those tokens. Leave it off for text you do not trust.</param>
    /// <exception cref="ArgumentException"><paramref name="beginOfText"/> is asked of a tokenizer without such a token.</exception>
    public int[] Encode(string text, bool beginOfText = false, bool recognizeSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        List<int> ids = beginOfText ? [RequireBeginOfText()] : [];
        EncodeInto(WellFormed(text), recognizeSpecial, ids);
        return [.. ids];
    }

    /// <summary>The tokens of a text and where each stands in it.</summary>
    /// <inheritdoc cref="Encode"/>
    public TokenizedText EncodeWithSpans(string text, bool beginOfText = false, bool recognizeSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        var (ids, spans) = Located(text, beginOfText, recognizeSpecial);
        return new(ids, spans, new int[ids.Count]);
    }

    /// <summary>The tokens of two texts one after another, each with its own begin-of-text token if asked for, and its own spans.</summary>
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

    /// <summary>The text of tokens. Ill-formed bytes, also a character that the tokens leave unfinished, become U+FFFD.</summary>
    /// <param name="ids">The tokens.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out of the text.</param>
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

    /// <summary>A decoder that takes tokens one at a time.</summary>
    /// <param name="skipSpecialTokens">Whether special tokens are left out of the text.</param>
    public StreamingDecoder CreateDecoder(bool skipSpecialTokens = false) => new(this, skipSpecialTokens);

    /// <summary>Appends the tokens of a text without added tokens. The text is well-formed UTF-16 and not empty.</summary>
    protected abstract void EncodePlain(string text, List<int> ids);

    /// <summary>The bytes of a token of the learned vocabulary, at least one; empty if no token has this id, which lies within the vocabulary size.</summary>
    protected abstract ReadOnlySpan<byte> PlainBytes(int id);

    /// <summary>
    /// Encodes a text whose special tokens become tokens, unless they hold a mark: the mark is dropped, and they stay text.
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
    /// Returns the text that is tokenised in place of the given one, and for each of its characters the number of the character that it was; null
    /// where they are the same.
    /// </summary>
    private protected virtual (string Text, int[]? Origins) Normalized(string text) => (text, null);

    /// <summary>How blanks are left out of spans; null where spans keep them.</summary>
    private protected virtual TrimmedSpans? Trimming => null;

    int RequireBeginOfText() => BeginOfText ?? throw new ArgumentException("the tokenizer has no begin-of-text token", "beginOfText");

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

    // the piece begins at the text's character with this number
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

    // a token's bytes are the characters it stands for: walks the text's characters alongside
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

            // a token that takes blanks along is written with them
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

    // UTF-8 has no lone surrogates
    static string WellFormed(string text) => text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF') < 0 ? text
        : Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
}
