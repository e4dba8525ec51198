using HybridArchitectures.Checkpoints;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>
/// One long sequence of token ids with the positions where documents begin. The tokens are in memory (2 bytes each for vocabularies up to 65,536, else 4) or
/// are read from a file as they are used. Several threads may read at a time.
/// </summary>
public sealed class TokenDataset : ITrainingData, IDisposable
{
    const string TokensName = "tokens", StartsName = "document_starts", BytesName = "token_bytes", VocabularyKey = "vocabulary_size", UnsignedKey = "tokens_unsigned_16_bit";

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

    /// <summary>One more than the largest id there may be.</summary>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public string Description => string.Create(System.Globalization.CultureInfo.InvariantCulture,
        $"{Count} tokens of a vocabulary of {VocabularySize}, fingerprint {Fingerprint:x16}");

    /// <summary>Opens a reader of windows of the data, each once an epoch, in shuffled order (see <see cref="WindowSampler"/>).</summary>
    /// <inheritdoc cref="ITrainingData.OpenReader"/>
    public TrainingReader OpenReader(TrainingReaderOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        var sampler = new WindowSampler(this, options.ContextLength, options.Seed, shuffle: true, options.SeparateDocuments);
        return new WindowReader(this, sampler, options.SeparateDocuments);
    }

    /// <summary>How many tokens there are.</summary>
    public long Count => store.Count;

    /// <summary>Where documents begin; the first is 0.</summary>
    public IReadOnlyList<long> DocumentStarts => documentStarts;

    /// <summary>Whether the bytes each token stands for are known, so that a loss can be told in bits per byte.</summary>
    public bool KnowsBytes => tokenBytes is not null;

    /// <summary>A number that differs for other tokens or document boundaries (of more than 16 million tokens a sample is looked at): by it a
    /// resumed run knows its data.</summary>
    public ulong Fingerprint => fingerprint ??= ComputeFingerprint();

    /// <summary>Tokenizes documents, in parallel, and strings them together.</summary>
    /// <param name="documents">The texts.</param>
    /// <param name="tokenizer">Text to ids.</param>
    /// <param name="beginOfText">Whether the tokenizer's begin-of-text token stands before each document.</param>
    /// <param name="endOfText">Whether its end-of-text token stands after each document.</param>
    public static TokenDataset FromDocuments(IEnumerable<TextDocument> documents, Tokenizer tokenizer, bool beginOfText = false, bool endOfText = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        int? begin = beginOfText ? tokenizer.BeginOfText ?? throw new ArgumentException("the tokenizer has no begin-of-text token", nameof(beginOfText)) : null;
        int? end = endOfText ? tokenizer.EndOfText ?? throw new ArgumentException("the tokenizer has no end-of-text token", nameof(endOfText)) : null;
        return FromDocuments(documents, text => tokenizer.Encode(text), tokenizer.VocabularySize, begin, end, id => tokenizer.IsSpecial(id) ? 0 : tokenizer.Bytes(id).Length);
    }

    /// <summary>Tokenizes documents, in parallel, by any function and strings them together.</summary>
    /// <param name="documents">The texts.</param>
    /// <param name="encode">Text to ids; called from several threads.</param>
    /// <param name="vocabularySize">One more than the largest id.</param>
    /// <param name="beginOfText">The id to put before each document, or null.</param>
    /// <param name="endOfText">The id to put after each document, or null.</param>
    /// <param name="byteCount">How many bytes of text an id stands for, 0 for special ones; null where that is unknown.</param>
    public static TokenDataset FromDocuments(
        IEnumerable<TextDocument> documents, Func<string, int[]> encode, int vocabularySize, int? beginOfText = null, int? endOfText = null, Func<int, int>? byteCount = null)
    {
        ArgumentNullException.ThrowIfNull(documents);
        ArgumentNullException.ThrowIfNull(encode);
        var pieces = documents.AsParallel().AsOrdered().Select(document => encode(document.Text)).ToArray();
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

    /// <summary>The bytes of documents in UTF-8 as ids 0 to 255.</summary>
    public static TokenDataset FromBytes(IEnumerable<TextDocument> documents) =>
        FromDocuments(documents, text => Array.ConvertAll(System.Text.Encoding.UTF8.GetBytes(text), b => (int)b), 256, byteCount: _ => 1);

    /// <summary>Takes tokens as they are.</summary>
    /// <param name="tokens">The ids, from 0 to <paramref name="vocabularySize"/> - 1.</param>
    /// <param name="vocabularySize">One more than the largest id there may be.</param>
    /// <param name="documentStarts">Where documents begin, rising from 0; null for one document.</param>
    /// <param name="byteCount">How many bytes of text an id stands for, 0 for special ones; null where that is unknown.</param>
    public static TokenDataset FromTokens(ReadOnlySpan<int> tokens, int vocabularySize, IReadOnlyList<long>? documentStarts = null, Func<int, int>? byteCount = null)
    {
        Refuse.Unless(vocabularySize > 0, vocabularySize, nameof(vocabularySize), "at least 1");
        if (tokens.IsEmpty) throw new ArgumentException("there are no tokens: the texts are empty", nameof(tokens));
        for (int i = 0; i < tokens.Length; i++)
            if ((uint)tokens[i] >= (uint)vocabularySize)
                throw new ArgumentOutOfRangeException(nameof(tokens), tokens[i], $"token {i} is {tokens[i]}; expected 0 to {vocabularySize - 1}");
        var starts = documentStarts?.ToArray() ?? [0];
        CheckStarts(starts, tokens.Length, text => new ArgumentException(text, nameof(documentStarts)));
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

    static void CheckStarts(long[] starts, long count, Func<string, Exception> refusal)
    {
        if (starts.Length == 0 || starts[0] != 0) throw refusal($"the first document begins at {(starts.Length == 0 ? "none" : starts[0])}; expected 0");
        for (int i = 1; i < starts.Length; i++)
            if (starts[i] <= starts[i - 1] || starts[i] >= count)
                throw refusal($"document {i} begins at {starts[i]}; expected {starts[i - 1] + 1} to {count - 1}");
    }

    /// <summary>Copies tokens.</summary>
    /// <param name="start">The first one's place.</param>
    /// <param name="target">Filled to its end.</param>
    /// <exception cref="ObjectDisposedException">The data set was disposed.</exception>
    /// <exception cref="InvalidDataException">The file was shortened or holds ids outside the vocabulary.</exception>
    public void CopyTo(long start, Span<long> target)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Refuse.Unless(start >= 0 && start <= Count - target.Length, start, nameof(start), $"0 to {Count - target.Length}, for {target.Length} of {Count} tokens");
        store.CopyTo(start, target);
    }

    /// <summary>Copies the number of the document each token belongs to.</summary>
    /// <inheritdoc cref="CopyTo"/>
    public void CopyDocumentsTo(long start, Span<long> target)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Refuse.Unless(start >= 0 && start <= Count - target.Length, start, nameof(start), $"0 to {Count - target.Length}, for {target.Length} of {Count} tokens");
        int document = Array.BinarySearch(documentStarts, start);
        if (document < 0) document = ~document - 1;
        for (int i = 0; i < target.Length; i++)
        {
            if (document + 1 < documentStarts.Length && start + i == documentStarts[document + 1]) document++;
            target[i] = document;
        }
    }

    /// <summary>How many bytes of text these ids stand for.</summary>
    /// <exception cref="InvalidOperationException">The bytes of tokens are not known, see <see cref="KnowsBytes"/>.</exception>
    public long CountBytes(ReadOnlySpan<long> ids)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (tokenBytes is null) throw new InvalidOperationException("the data does not say how many bytes a token stands for");
        long sum = 0;
        foreach (long id in ids)
            if (id >= 0) sum += tokenBytes[id];
        return sum;
    }

    /// <summary>Writes the data to a file that <see cref="Open"/> reads: safetensors with <c>tokens</c> (16 or 32 bits each), <c>document_starts</c>
    /// and, where known, <c>token_bytes</c>.</summary>
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

    /// <summary>Opens what <see cref="Save(string)"/> wrote; the tokens stay in the file and are read as they are used.</summary>
    /// <exception cref="InvalidDataException">The file is not one of these, or damaged.</exception>
    public static TokenDataset Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        RegularFile.Require(path);
        using var scope = NewDisposeScope();
        using var file = SafetensorsFile.Open(path);
        if (!file.Contains(TokensName) || !file.Contains(StartsName) || !file.Metadata.TryGetValue(VocabularyKey, out var text)
            || !int.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out int vocabularySize) || vocabularySize < 1)
            throw new InvalidDataException(
                $"{path}: no token data; expected tensors '{TokensName}' and '{StartsName}' and the '{VocabularyKey}' among the metadata");
        var entry = file[TokensName];
        bool small = entry.Type == ScalarType.Int16;
        if (small && file.Metadata.GetValueOrDefault(UnsignedKey) != "true")
            throw new InvalidDataException($"{path}: '{TokensName}' at offset {entry.Offset} are signed 16-bit numbers; expected '{UnsignedKey}' among the metadata, or 32 bits");
        if ((!small && entry.Type != ScalarType.Int32) || entry.Shape.Count != 1 || entry.Shape[0] == 0 || (small && vocabularySize > 65536) || entry.Offset % 2 != 0)
            throw new InvalidDataException(
                $"{path}: '{TokensName}' at offset {entry.Offset} is {entry}; expected a list of Int32{(vocabularySize > 65536 ? $", for a vocabulary of {vocabularySize}" : " or Int16")}");
        if (file[StartsName] is not { Type: ScalarType.Int64, Shape.Count: 1 })
            throw new InvalidDataException($"{path}: '{StartsName}' is {file[StartsName]}; expected a list of Int64");
        var starts = file.Read(StartsName).data<long>().ToArray();
        CheckStarts(starts, entry.Shape[0], message => new InvalidDataException($"{path}: {message}"));
        int[]? bytes = null;
        if (file.Contains(BytesName))
        {
            if (file[BytesName] is not { Type: ScalarType.Int32, Shape: [var length] } || length != vocabularySize)
                throw new InvalidDataException($"{path}: '{BytesName}' is {file[BytesName]}; expected Int32[{vocabularySize}]");
            bytes = file.Read(BytesName).data<int>().ToArray();
        }
        return new TokenDataset(new FileTokenStore(path, entry.Offset, entry.Shape[0], small, vocabularySize), vocabularySize, starts, bytes);
    }

    /// <summary>Strings data sets together, one after another.</summary>
    /// <param name="parts">Of one vocabulary. They become the result's, which disposes them.</param>
    public static TokenDataset Join(params IReadOnlyList<TokenDataset> parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        if (parts.Count == 0) throw new ArgumentException("no data sets to join", nameof(parts));
        foreach (var part in parts) ObjectDisposedException.ThrowIf(part.disposed, part);
        int vocabularySize = parts[0].VocabularySize;
        if (parts.FirstOrDefault(part => part.VocabularySize != vocabularySize) is { } other)
            throw new ArgumentException($"vocabularies of {vocabularySize} and {other.VocabularySize}; expected one", nameof(parts));
        var starts = new long[parts.Sum(part => part.documentStarts.Length)];
        int at = 0;
        long first = 0;
        foreach (var part in parts)
        {
            foreach (long start in part.documentStarts) starts[at++] = first + start;
            first += part.Count;
        }
        // a part knows the bytes of the ids that occur in it
        var bytes = parts.All(part => part.KnowsBytes) ? new int[vocabularySize] : null;
        if (bytes is not null)
            foreach (var part in parts)
                for (int id = 0; id < vocabularySize; id++) bytes[id] = Math.Max(bytes[id], part.tokenBytes![id]);
        return new TokenDataset(new JoinedTokenStore(parts.Select(part => part.store)), vocabularySize, starts, bytes);
    }

    /// <summary>The data but for its end, and its end: cut where a document begins, or inside the last document if that alone is too long. Both look into this data set, which must outlive them.</summary>
    /// <param name="heldOutShare">The share of the tokens in the second part, in (0, 1), as nearly as documents allow.</param>
    /// <exception cref="InvalidOperationException">There are too few tokens to cut.</exception>
    public (TokenDataset Training, TokenDataset HeldOut) Split(double heldOutShare = 0.05)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Refuse.Unless(heldOutShare is > 0 and < 1, heldOutShare, nameof(heldOutShare), "a share in (0, 1)");
        long wanted = Math.Max(2, (long)(Count * heldOutShare)), cut = Count - wanted;
        if (cut < 2) throw new InvalidOperationException($"{Count} tokens are too few to hold some out");
        int document = Array.BinarySearch(documentStarts, cut);
        if (document < 0)
        {
            // the nearer of the beginnings around the cut, if it leaves each part no less than half of what it should have
            int after = ~document;
            var near = new[] { documentStarts[after - 1], after < documentStarts.Length ? documentStarts[after] : -1 }.Where(start => start >= 2 && Count - start >= wanted / 2 && Count - start <= 2 * wanted);
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
        long stride = Math.Max(1, Count / (16 * block));     // every stride-th buffer
        for (long at = 0; at < Count; at += buffer.Length * stride)
        {
            var part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, Count - at));
            store.CopyTo(at, part);
            foreach (long token in part) Mix(token);
        }
        return hash;
    }

    /// <summary>Frees the tokens or closes their file. Threads that are reading finish their read; later calls throw <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        disposed = true;
        store.Dispose();
    }
}
