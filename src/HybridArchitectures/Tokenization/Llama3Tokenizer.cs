using System.Globalization;
using System.Text;
using HybridArchitectures.Checkpoints;
using Microsoft.Extensions.AI;
using Microsoft.ML.Tokenizers;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Implements the tokenizer of Llama 3: a split pattern, byte-level BPE by ranks, and the special tokens and chat template of Llama 3 and 3.2. A
/// piece of the split that is a token becomes that token.
/// </summary>
public sealed class Llama3Tokenizer : Tokenizer
{
    const string Begin = "<|begin_of_text|>", End = "<|end_of_text|>", Turn = "<|eot_id|>", Message = "<|eom_id|>",
        HeaderStart = "<|start_header_id|>",
        HeaderEnd = "<|end_header_id|>", Pad = "<|finetune_right_pad_id|>";

    // pieces of this many UTF-16 units or more are merged by LongPieceEncoder
    const int LongPiece = 4096;

    readonly byte[]?[] tokens;
    readonly SplitPattern pattern;
    readonly TiktokenTokenizer tiktoken;
    readonly Lazy<LongPieceEncoder> longPieces;

    Llama3Tokenizer(byte[]?[] tokens, IReadOnlyList<AddedToken> added, SplitPattern pattern, IReadOnlyList<int> stop, string? begin = null,
        TrimmedSpans? trimming = null)
        : base(tokens.Length, added)
    {
        (this.tokens, this.pattern, Trimming) = (tokens, pattern, trimming);
        longPieces = new(() => new LongPieceEncoder(tokens));
        int? Find(string text) => SpecialTokens.TryGetValue(text, out int id) ? id : null;
        BeginOfText = begin is null ? Find(Begin) : added.First(token => token.Text == begin).Id;
        EndOfText = Find(End);
        EndOfTurn = Find(Turn);
        Padding = Find(Pad);
        StopTokens = [.. new[] { EndOfText, EndOfTurn, Find(Message) }.OfType<int>().Concat(stop.Where(Contains)).Distinct()];
        tiktoken = TiktokenTokenizer.Create(Ranks(tokens), pattern, normalizer: null);
    }

    /// <summary>
    /// Gets the 256 special tokens of Llama 3.2 in the order of their ids, which follow the last rank. Unused tokens are named
    /// <c>&lt;|reserved_special_token_0|&gt;</c> to <c>_247</c>.
    /// </summary>
    public static IReadOnlyList<string> Llama32SpecialTokens { get; } = MakeLlama32SpecialTokens();

    /// <inheritdoc/>
    public override int? BeginOfText { get; }

    /// <inheritdoc/>
    public override int? EndOfText { get; }

    /// <summary>Gets the token that ends a turn of a conversation. Null if there is none.</summary>
    public int? EndOfTurn { get; }

    /// <inheritdoc/>
    public override int? Padding { get; }

    /// <summary>
    /// Gets the tokens that end a text, a turn or a message, and the <c>eos_token_id</c> of <c>generation_config.json</c>, or else of
    /// <c>config.json</c>, in the folder of the tokenizer.
    /// </summary>
    public override IReadOnlyList<int> StopTokens { get; }

    /// <summary>Returns whether a <c>tokenizer.json</c> contains the added tokens of Llama 3's conversations.</summary>
    internal static bool IsLlama3(string path)
    {
        using var document = JsonPart.Parse(path);
        return new JsonPart(path, "", document.RootElement).Optional("added_tokens") is { } added
            && added.Elements().Any(token => token.Optional("content")?.Text() == HeaderStart);
    }

    /// <summary>
    /// Loads a tokenizer file. In a folder, the file is <c>tokenizer.json</c>, or else <c>tokenizer.model</c> or <c>original/tokenizer.model</c>.
    /// </summary>
    /// <param name="path">A <c>tokenizer.json</c>, a rank file with the special tokens of Llama 3.2, or a folder that contains one of them.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The file is damaged or has another format. The message names the line or position.</exception>
    public static new Llama3Tokenizer Load(string path)
    {
        Require.NotBlank(path);
        if (Directory.Exists(path))
        {
            string[] names = ["tokenizer.json", "tokenizer.model", Path.Combine("original", "tokenizer.model")];
            path = names.Select(name => Path.Combine(path, name)).FirstOrDefault(File.Exists)
                ?? throw new FileNotFoundException($"no tokenizer.json, tokenizer.model or original/tokenizer.model in {path}", path);
        }
        if (!File.Exists(path)) throw new FileNotFoundException(HubNames.NoFile(path), path);
        return path.EndsWith(".json", StringComparison.OrdinalIgnoreCase) ? FromJson(path) : FromRankFile(path);
    }

    /// <summary>Loads a rank file (<c>tokenizer.model</c>).</summary>
    /// <param name="path">The file. Each line contains a token in base64, a space, and its rank.</param>
    /// <param name="specialTokens">The special tokens, whose ids follow the last rank. The default, null, is the list of Llama 3.2.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The file is damaged or has another format. The message names the line.</exception>
    /// <exception cref="ArgumentException">A special token is empty or occurs twice.</exception>
    public static Llama3Tokenizer FromRankFile(string path, IReadOnlyList<string>? specialTokens = null)
    {
        Require.NotBlank(path);
        if (specialTokens is not null) Require.Items(specialTokens);
        byte[]?[] ranks = RankFile.Read(path);
        int first = ranks.Length;
        var added = (specialTokens ?? Llama32SpecialTokens).Select((text, index) => new AddedToken(first + index, text)).ToArray();
        Array.Resize(ref ranks, first + added.Length);
        return new(ranks, added, new SplitPattern(SplitPattern.Llama3), Stop(path));
    }

    /// <summary>
    /// Loads a <c>tokenizer.json</c> in the layout of Llama 3. Settings that would change tokens or spans are refused with the reason.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The file is damaged or describes another kind of tokenizer. The message names the position.</exception>
    public static Llama3Tokenizer FromJson(string path)
    {
        Require.NotBlank(path);
        var json = TokenizerJson.Read(path);
        return new(json.Tokens, json.Added, json.Pattern, Stop(path), json.BeginOfText, json.Trimming);
    }

    /// <summary>
    /// Encodes a conversation: begin-of-text, and then for each message its role between header tokens, two line breaks, its content, and
    /// end-of-turn.
    /// </summary>
    /// <param name="messages">
    /// The messages. White space around a text is removed, and special tokens in it are treated as plain text.
    /// </param>
    /// <param name="addGenerationPrompt">Whether the header of the assistant's answer is appended. The default is true.</param>
    /// <param name="today">
    /// The date for the system message. Llama 3.2 was trained with a system message that always comes first and begins with the knowledge date and
    /// the current date. The default, null, omits it.
    /// </param>
    /// <returns>The token ids.</returns>
    /// <exception cref="NotSupportedException">
    /// A message has a role other than system, user, assistant and tool, or a content that is not text.
    /// </exception>
    /// <exception cref="InvalidOperationException">The tokenizer does not have one of the special tokens.</exception>
    public int[] EncodeChat(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = true, DateOnly? today = null)
    {
        List<int> ids = [Control(Begin)];
        foreach (var (role, content) in Turns(messages, today))
        {
            AppendHeader(role);
            EncodeText($"\n\n{content}");
            ids.Add(Control(Turn));
        }
        if (addGenerationPrompt)
        {
            AppendHeader(ChatRole.Assistant.Value);
            EncodeText("\n\n");
        }
        return [.. ids];

        void EncodeText(string text) => ids.AddRange(Encode(text));
        void AppendHeader(string role)
        {
            ids.Add(Control(HeaderStart));
            EncodeText(role);
            ids.Add(Control(HeaderEnd));
        }
    }

    /// <summary>Formats a conversation as text in which the special tokens are spelled out.</summary>
    /// <inheritdoc cref="EncodeChat"/>
    public static string FormatChat(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = true, DateOnly? today = null)
    {
        var text = new StringBuilder(Begin);
        foreach (var (role, content) in Turns(messages, today)) text.Append($"{HeaderStart}{role}{HeaderEnd}\n\n{content}{Turn}");
        if (addGenerationPrompt) text.Append($"{HeaderStart}{ChatRole.Assistant}{HeaderEnd}\n\n");
        return text.ToString();
    }

    /// <inheritdoc/>
    protected override void EncodePlain(string text, List<int> ids)
    {
        if (text.Length < LongPiece || pattern.Pieces(text) is var pieces && !pieces.Exists(piece => piece.Length >= LongPiece))
        {
            ids.AddRange(tiktoken.EncodeToIds(text, considerNormalization: false));
            return;
        }
        foreach (var (offset, length) in pieces)
        {
            var piece = text.AsSpan(offset, length);
            if (length >= LongPiece) longPieces.Value.Encode(piece, ids);
            else ids.AddRange(tiktoken.EncodeToIds(piece, considerPreTokenization: false, considerNormalization: false));
        }
    }

    /// <inheritdoc/>
    protected override ReadOnlySpan<byte> PlainBytes(int id) => tokens[id];

    private protected override TrimmedSpans? Trimming { get; }

    // published checkpoints store the rank file in a separate folder
    static IReadOnlyList<int> Stop(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        return FolderTokens.ReadStop(Path.GetFileName(folder) == "original" ? Path.GetDirectoryName(folder)! : folder);
    }

    static IEnumerable<(string Role, string Content)> Turns(IReadOnlyList<ChatMessage> messages, DateOnly? today)
    {
        ChatText.Check(messages);
        var turns = messages.Select(message => (Role: RoleOf(message), Content: Trim(message.Text))).ToList();
        if (today is not { } date) return turns;
        string dates = $"Cutting Knowledge Date: December 2023\nToday Date: {date.ToString("dd MMM yyyy", CultureInfo.InvariantCulture)}\n\n";
        string system = ChatRole.System.Value;
        if (turns.Count > 0 && turns[0].Role == system) turns[0] = (system, dates + turns[0].Content);
        else turns.Insert(0, (system, dates));
        return turns;
    }

    // Llama 3 names results of tools otherwise
    static string RoleOf(ChatMessage message) => message.Role == ChatRole.Tool ? "ipython" : ChatText.RoleOf(message);

    // the trim of the template also removes the separators U+001C to U+001F
    static string Trim(string content)
    {
        static bool IsBlank(char character) => char.IsWhiteSpace(character) || character is >= '\u001C' and <= '\u001F';
        int start = 0, end = content.Length;
        while (start < end && IsBlank(content[start])) start++;
        while (end > start && IsBlank(content[end - 1])) end--;
        return content[start..end];
    }

    int Control(string text) => SpecialTokens.TryGetValue(text, out int id) ? id
        : throw new InvalidOperationException($"the chat template needs {text}, which this tokenizer lacks");

    static MemoryStream Ranks(byte[]?[] tokens)
    {
        var stream = new MemoryStream();
        using (var writer = new StreamWriter(stream, leaveOpen: true))
        {
            writer.NewLine = "\n";
            for (int id = 0; id < tokens.Length; id++)
                if (tokens[id] is { } bytes) writer.WriteLine($"{Convert.ToBase64String(bytes)} {id}");
        }
        stream.Position = 0;
        return stream;
    }

    static List<string> MakeLlama32SpecialTokens()
    {
        var names = new List<string> { Begin, End };
        int reserved = 0;
        void Reserve(int count)
        {
            for (int i = 0; i < count; i++) names.Add($"<|reserved_special_token_{reserved++}|>");
        }
        Reserve(2);
        names.Add(Pad);
        Reserve(1);
        names.AddRange([HeaderStart, HeaderEnd, Message, Turn, "<|python_tag|>"]);
        Reserve(245);
        return names;
    }
}
