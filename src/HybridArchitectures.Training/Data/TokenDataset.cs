using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents one long sequence of token ids with the positions at which documents begin. The tokens are in memory (2 bytes each for vocabularies of
/// up to 65,536, and 4 otherwise), or are read from a file on demand. Instances are thread-safe.
/// </summary>
/// <example>
/// <code>
/// TextCorpus corpus = DocumentationCorpus.Load();
/// using TokenDataset bytes = TokenDataset.FromBytes(corpus.Training);
/// bytes.Save("documentation.safetensors");
/// using TokenDataset opened = TokenDataset.Open("documentation.safetensors");
/// var (training, heldOut) = opened.Split(heldOutShare: 0.05);
/// Console.WriteLine($"{training.Count:N0} and {heldOut.Count:N0} tokens");
/// </code>
/// </example>
public sealed class TokenDataset : ITrainingData, IDisposable
{
    const string TokensName = "tokens", StartsName = "document_starts", BytesName = "token_bytes", VocabularyKey = "vocabulary_size",
        UnsignedKey = "tokens_unsigned_16_bit";

    readonly ITokenStore store;
    readonly long[] documentStarts;
    readonly int[]? tokenBytes;
    ulong? fingerprint;
    volatile bool disposed;

    TokenDataset(ITokenStore store, int vocabularySize, long[] documentStarts, int[]? tokenBytes)
    {
        this.store = store;
        this.documentStarts = documentStarts;
        this.tokenBytes = tokenBytes;
        VocabularySize = vocabularySize;
    }

    /// <summary>Gets the vocabulary size: one more than the maximum id.</summary>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public string Description => string.Create(System.Globalization.CultureInfo.InvariantCulture,
        $"{Count} tokens of a vocabulary of {VocabularySize}, fingerprint {Fingerprint:x16}");

    /// <summary>
    /// Opens a reader of windows of the data. Each window is read once per epoch, in random order (see <see cref="WindowSampler"/>).
    /// </summary>
    /// <inheritdoc cref="ITrainingData.OpenReader"/>
    public TrainingReader OpenReader(TrainingReaderOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        var sampler = new WindowSampler(this, options.ContextLength, options.Seed, shuffle: true, options.SeparateDocuments);
        return new WindowReader(this, sampler, options.SeparateDocuments);
    }

    /// <summary>Gets the number of tokens.</summary>
    public long Count => store.Count;

    /// <summary>Gets the positions at which documents begin. The first one is 0.</summary>
    public IReadOnlyList<long> DocumentStarts => documentStarts;

    /// <summary>Gets whether the number of bytes per token is known, so that a loss can be converted to bits per byte.</summary>
    public bool KnowsBytes => tokenBytes is not null;

    /// <summary>
    /// Gets a number that differs for other tokens or document boundaries. A resumed run recognizes its data by it. Only a sample of the tokens is
    /// used if there are more than 16 million.
    /// </summary>
    public ulong Fingerprint => fingerprint ??= ComputeFingerprint();

    /// <summary>Tokenizes documents in parallel and concatenates them.</summary>
    /// <param name="documents">The texts.</param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="beginOfText">Whether the begin-of-text token is put before each document. The default is false.</param>
    /// <param name="endOfText">Whether the end-of-text token is put after each document. The default is false.</param>
    public static TokenDataset FromDocuments(
        IEnumerable<TextDocument> documents, Tokenizer tokenizer, bool beginOfText = false, bool endOfText = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        int? begin = beginOfText
            ? tokenizer.BeginOfText ?? throw Require.Unfit(nameof(beginOfText), "beginOfText is true, but the tokenizer has no such token", "false")
            : null;
        int? end = endOfText
            ? tokenizer.EndOfText ?? throw Require.Unfit(nameof(endOfText), "endOfText is true, but the tokenizer has no such token", "false")
            : null;
        return FromDocuments(documents, text => tokenizer.Encode(text), tokenizer.VocabularySize, begin, end,
            id => tokenizer.IsSpecial(id) ? 0 : tokenizer.Bytes(id).Length);
    }

    /// <summary>Tokenizes documents in parallel with a function and concatenates them.</summary>
    /// <param name="documents">The texts.</param>
    /// <param name="encode">Converts text to ids. It is called from several threads.</param>
    /// <param name="vocabularySize">The vocabulary size: one more than the maximum id.</param>
    /// <param name="beginOfText">The id to put before each document. The default, null, means none.</param>
    /// <param name="endOfText">The id to put after each document. The default, null, means none.</param>
    /// <param name="byteCount">Returns the number of bytes of text of an id, 0 for special ones. The default, null, means unknown.</param>
    public static TokenDataset FromDocuments(
        IEnumerable<TextDocument> documents, Func<string, int[]> encode, int vocabularySize, int? beginOfText = null, int? endOfText = null,
        Func<int, int>? byteCount = null)
    {
        ArgumentNullException.ThrowIfNull(encode);
        TextDocument[] texts = [.. Require.EachItem(documents)];
        var pieces = texts.AsParallel().AsOrdered().Select(document => encode(document.Text)).ToArray();
        int extra = (beginOfText is null ? 0 : 1) + (endOfText is null ? 0 : 1);
        var tokens = new int[checked(pieces.Sum(piece => piece.Length == 0 ? 0L : piece.Length + extra))];
        var starts = new List<long>(pieces.Length);
        int at = 0;
        foreach (var piece in pieces)
        {
            if (piece.Length == 0) continue;
            starts.Add(at);
            if (beginOfText is { } begin) tokens[at++] = begin;
            piece.CopyTo(tokens, at);
            at += piece.Length;
            if (endOfText is { } end) tokens[at++] = end;
        }
        return FromTokens(tokens, vocabularySize, [.. starts], byteCount);
    }

    /// <summary>Creates a data set from the bytes of documents in UTF-8, with ids from 0 to 255.</summary>
    public static TokenDataset FromBytes(IEnumerable<TextDocument> documents) =>
        FromDocuments(documents, text => Array.ConvertAll(System.Text.Encoding.UTF8.GetBytes(text), b => (int)b), 256, byteCount: _ => 1);

    /// <summary>Creates a data set from tokens.</summary>
    /// <param name="tokens">The ids, from 0 to <paramref name="vocabularySize"/> - 1.</param>
    /// <param name="vocabularySize">The vocabulary size: one more than the maximum id.</param>
    /// <param name="documentStarts">The positions at which documents begin, ascending from 0. The default, null, means one document.</param>
    /// <param name="byteCount">Returns the number of bytes of text of an id, 0 for special ones. The default, null, means unknown.</param>
    public static TokenDataset FromTokens(
        ReadOnlySpan<int> tokens, int vocabularySize, IReadOnlyList<long>? documentStarts = null, Func<int, int>? byteCount = null)
    {
        Require.InRange(vocabularySize > 0, nameof(vocabularySize), vocabularySize, "at least 1");
        if (tokens.IsEmpty) throw Require.Unfit(nameof(tokens), "tokens is empty", "at least one token");
        for (int i = 0; i < tokens.Length; i++)
            if ((uint)tokens[i] >= (uint)vocabularySize)
                throw Require.OutOfRange($"tokens[{i}]", tokens[i], $"0 to {vocabularySize - 1}");
        var starts = documentStarts?.ToArray() ?? [0];
        CheckStarts(starts, tokens.Length, (found, expected) => Require.Unfit(nameof(documentStarts), found, expected));
        int[]? bytes = null;
        if (byteCount is not null)
        {
            bytes = new int[vocabularySize];
            var known = new bool[vocabularySize];
            foreach (int id in tokens)
            {
                if (known[id]) continue;
                known[id] = true;
                bytes[id] = byteCount(id);
            }
        }
        return new TokenDataset(new ArrayTokenStore(tokens, vocabularySize), vocabularySize, starts, bytes);
    }

    static void CheckStarts(long[] starts, long count, Func<string, string, Exception> refusal)
    {
        if (starts.Length == 0 || starts[0] != 0)
            throw refusal($"the first document begins at {(starts.Length == 0 ? "none" : starts[0])}", "0");
        for (int i = 1; i < starts.Length; i++)
            if (starts[i] <= starts[i - 1] || starts[i] >= count)
                throw refusal($"document {i} begins at {starts[i]}", $"{starts[i - 1] + 1} to {count - 1}");
    }

    /// <summary>Copies tokens into a span.</summary>
    /// <param name="start">The position of the first token.</param>
    /// <param name="target">Receives the tokens. It is filled completely.</param>
    /// <exception cref="ObjectDisposedException">The data set is disposed.</exception>
    /// <exception cref="InvalidDataException">The file was shortened or contains ids outside the vocabulary.</exception>
    public void CopyTo(long start, Span<long> target)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Require.InRange(start >= 0 && start <= Count - target.Length, nameof(start), start,
            $"0 to {Count - target.Length}, for {target.Length} of {Count} tokens");
        store.CopyTo(start, target);
    }

    /// <summary>Copies the number of the document of each token.</summary>
    /// <inheritdoc cref="CopyTo"/>
    public void CopyDocumentsTo(long start, Span<long> target)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Require.InRange(start >= 0 && start <= Count - target.Length, nameof(start), start,
            $"0 to {Count - target.Length}, for {target.Length} of {Count} tokens");
        int document = Array.BinarySearch(documentStarts, start);
        if (document < 0) document = ~document - 1;
        for (int i = 0; i < target.Length; i++)
        {
            if (document + 1 < documentStarts.Length && start + i == documentStarts[document + 1]) document++;
            target[i] = document;
        }
    }

    /// <summary>Returns the number of bytes of text that ids represent.</summary>
    /// <exception cref="InvalidOperationException">The number of bytes per token is unknown, see <see cref="KnowsBytes"/>.</exception>
    public long CountBytes(ReadOnlySpan<long> ids)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (tokenBytes is null) throw new InvalidOperationException("the number of bytes per token is unknown");
        long sum = 0;
        foreach (long id in ids)
            if (id >= 0) sum += tokenBytes[id];
        return sum;
    }

    /// <summary>
    /// Writes the data to a file for <see cref="Open"/>: safetensors with <c>tokens</c> (16 or 32 bits each), <c>document_starts</c> and, if known,
    /// <c>token_bytes</c>.
    /// </summary>
    public void Save(string path) => Save(path, []);

    internal void Save(string path, IEnumerable<KeyValuePair<string, string>> notes)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor> { [TokensName] = store.ToTensor(), [StartsName] = tensor(documentStarts) };
        if (tokenBytes is not null) tensors[BytesName] = tensor(tokenBytes);
        SafetensorsFile.Write(path, tensors, new Dictionary<string, string>(notes)
        {
            [VocabularyKey] = VocabularySize.ToString(System.Globalization.CultureInfo.InvariantCulture),
            [UnsignedKey] = store.IsSmall ? "true" : "false",
        });
    }

    /// <summary>Opens a file that <see cref="Save(string)"/> wrote. The tokens stay in the file and are read on demand.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidDataException">The file has another format or is damaged.</exception>
    public static TokenDataset Open(string path)
    {
        Require.NotEmpty(path);
        RegularFile.Require(path);
        using var scope = NewDisposeScope();
        using var file = SafetensorsFile.Open(path);
        if (!file.Contains(TokensName) || !file.Contains(StartsName) || !file.Metadata.TryGetValue(VocabularyKey, out var text)
            || !int.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out int vocabularySize) || vocabularySize < 1)
            throw new InvalidDataException(
                $"{path}: no token data; expected tensors '{TokensName}' and '{StartsName}' and '{VocabularyKey}' in the metadata");
        var entry = file[TokensName];
        bool small = entry.Type == ScalarType.Int16;
        if (small && file.Metadata.GetValueOrDefault(UnsignedKey) != "true")
            throw new InvalidDataException(
                $"{path}: '{TokensName}' at offset {entry.Offset} are signed 16-bit numbers; expected '{UnsignedKey}' among the metadata, or "
                + "32 bits");
        if ((!small && entry.Type != ScalarType.Int32) || entry.Shape.Count != 1 || entry.Shape[0] == 0 || (small && vocabularySize > 65536)
            || entry.Offset % 2 != 0)
            throw new InvalidDataException(
                $"{path}: '{TokensName}' at offset {entry.Offset} is {entry}; expected a list of "
                + $"Int32{(vocabularySize > 65536 ? $", for a vocabulary of {vocabularySize}" : " or Int16")}");
        if (file[StartsName] is not { Type: ScalarType.Int64, Shape.Count: 1 })
            throw new InvalidDataException($"{path}: '{StartsName}' is {file[StartsName]}; expected a list of Int64");
        var starts = file.Read(StartsName).data<long>().ToArray();
        CheckStarts(starts, entry.Shape[0],
            (found, expected) => new InvalidDataException($"{path}: {Require.Message(found, expected)}"));
        int[]? bytes = null;
        if (file.Contains(BytesName))
        {
            if (file[BytesName] is not { Type: ScalarType.Int32, Shape: [var length] } || length != vocabularySize)
                throw new InvalidDataException($"{path}: '{BytesName}' is {file[BytesName]}; expected Int32[{vocabularySize}]");
            bytes = file.Read(BytesName).data<int>().ToArray();
        }
        return new TokenDataset(new FileTokenStore(path, entry.Offset, entry.Shape[0], small, vocabularySize), vocabularySize, starts, bytes);
    }

    /// <summary>Concatenates data sets.</summary>
    /// <param name="parts">The data sets, all with the same vocabulary size. The result owns and disposes them.</param>
    public static TokenDataset Join(params IReadOnlyList<TokenDataset> parts)
    {
        Require.Items(parts);
        if (parts.Count == 0) throw Require.Unfit(nameof(parts), "parts is empty", "at least one data set");
        foreach (var part in parts) ObjectDisposedException.ThrowIf(part.disposed, part);
        int vocabularySize = parts[0].VocabularySize;
        if (parts.FirstOrDefault(part => part.VocabularySize != vocabularySize) is { } other)
            throw Require.Unfit(nameof(parts), $"vocabulary sizes {vocabularySize} and {other.VocabularySize}", "equal ones");
        var starts = new long[parts.Sum(part => part.documentStarts.Length)];
        int at = 0;
        long first = 0;
        foreach (var part in parts)
        {
            foreach (long start in part.documentStarts) starts[at++] = first + start;
            first += part.Count;
        }
        // a part knows the bytes of the ids that it contains
        var bytes = parts.All(part => part.KnowsBytes) ? new int[vocabularySize] : null;
        if (bytes is not null)
            foreach (var part in parts)
                for (int id = 0; id < vocabularySize; id++) bytes[id] = Math.Max(bytes[id], part.tokenBytes![id]);
        return new TokenDataset(new JoinedTokenStore(parts.Select(part => part.store)), vocabularySize, starts, bytes);
    }

    /// <summary>
    /// Splits the data at the start of a document, or inside the last document if that alone is too long. Both parts are views of this data set,
    /// which must not be disposed before them.
    /// </summary>
    /// <param name="heldOutShare">The share of tokens in the second part, in (0, 1), as closely as documents allow. The default is 0.05.</param>
    /// <exception cref="InvalidOperationException">There are too few tokens.</exception>
    public (TokenDataset Training, TokenDataset HeldOut) Split(double heldOutShare = 0.05)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Require.InRange(heldOutShare is > 0 and < 1, nameof(heldOutShare), heldOutShare, "a fraction in (0, 1)");
        long wanted = Math.Max(2, (long)(Count * heldOutShare)), cut = Count - wanted;
        if (cut < 2) throw new InvalidOperationException($"{Count} tokens are too few for a split");
        int document = Array.BinarySearch(documentStarts, cut);
        if (document < 0)
        {
            // the nearer document start around the cut, if each part has at least half of its intended size
            int after = ~document;
            var near = new[] { documentStarts[after - 1], after < documentStarts.Length ? documentStarts[after] : -1 }.Where(
                start => start >= 2 && Count - start >= wanted / 2 && Count - start <= 2 * wanted);
            cut = near.DefaultIfEmpty(cut).MinBy(start => Math.Abs(start - (Count - wanted)));
        }
        return (Slice(0, cut), Slice(cut, Count - cut));
    }

    TokenDataset Slice(long start, long count)
    {
        long[] starts = [0, .. documentStarts.Where(at => at > start && at < start + count).Select(at => at - start)];
        return new TokenDataset(new SlicedTokenStore(store, start, count), VocabularySize, starts, tokenBytes);
    }

    ulong ComputeFingerprint()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        const long block = 1 << 20;
        var buffer = new long[4096];
        ulong hash = 14695981039346656037;
        void Mix(long value) => hash = (hash ^ (ulong)value) * 1099511628211;
        Mix(VocabularySize);
        Mix(Count);
        Mix(documentStarts.Length);
        foreach (long start in documentStarts) Mix(start);
        long stride = Math.Max(1, Count / (16 * block));     // every n-th buffer
        for (long at = 0; at < Count; at += buffer.Length * stride)
        {
            var part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, Count - at));
            store.CopyTo(at, part);
            foreach (long token in part) Mix(token);
        }
        return hash;
    }

    /// <summary>
    /// Disposes the tokens or closes their file. Threads that are reading finish their read. Later calls throw an
    /// <see cref="ObjectDisposedException"/>.
    /// </summary>
    public void Dispose()
    {
        disposed = true;
        store.Dispose();
    }
}
