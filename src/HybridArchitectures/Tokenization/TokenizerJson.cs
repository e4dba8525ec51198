namespace HybridArchitectures.Tokenization;

/// <summary>
/// Reads a <c>tokenizer.json</c> in the layout of Llama 3: a byte-level BPE after one split pattern. Settings that would change the tokens are
/// refused.
/// </summary>
/// <param name="Tokens">The bytes of the learned tokens by id. Null if an id belongs to an added token or to no token.</param>
/// <param name="Added">The added tokens.</param>
/// <param name="Pattern">The split pattern.</param>
/// <param name="BeginOfText">The text of the token that the template puts before a text, or null.</param>
/// <param name="Trimming">How white space is removed from spans. Null if spans include it.</param>
sealed record TokenizerJson(byte[]?[] Tokens, IReadOnlyList<AddedToken> Added, SplitPattern Pattern, string? BeginOfText, TrimmedSpans? Trimming)
{
    const string OnlyLlama3 = "this reader takes the layout of Llama 3's tokenizer (byte-level BPE behind one split pattern)";

    /// <summary>Reads the file.</summary>
    /// <exception cref="InvalidDataException">The file is damaged or has another format. The message names the position and the reason.</exception>
    public static TokenizerJson Read(string path)
    {
        using var document = JsonPart.Parse(path);
        var root = new JsonPart(path, "", document.RootElement);
        root.RequireOnly("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model");
        root.Optional("version")?.RequireText("1.0", "no other version of the format is known");
        foreach (string name in (ReadOnlySpan<string>)["truncation", "padding", "normalizer"])
            if (root.Optional(name) is { } given) throw given.Bad($"a tokenizer with a {name} is not supported: {OnlyLlama3}");
        var added = TokenizerParts.Added(root);
        var vocabulary = ReadModel(root.Required("model"), added);
        var pattern = ReadSplit(root.Required("pre_tokenizer"));
        var decoder = root.Required("decoder");
        decoder.Required("type").RequireText("ByteLevel", OnlyLlama3);
        var (begin, trimming) = root.Optional("post_processor") is { } processor ? TokenizerParts.PostProcessor(processor, added, OnlyLlama3)
            : default;

        var tokens = new byte[]?[Math.Max(vocabulary.Values.DefaultIfEmpty(-1).Max(), added.Select(token => token.Id).DefaultIfEmpty(-1).Max()) + 1];
        foreach (var (spelling, id) in vocabulary)
        {
            ByteAlphabet.TryRead(spelling, out var bytes);
            tokens[id] = bytes;
        }
        return new(tokens, added, pattern, begin, trimming);
    }

    // maps spellings to ids, without the added tokens
    static Dictionary<string, int> ReadModel(JsonPart model, List<AddedToken> added)
    {
        model.Required("type").RequireText("BPE", OnlyLlama3);
        model.RequireOnly("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
            "ignore_merges", "vocab", "merges");
        foreach (string name in (ReadOnlySpan<string>)["dropout", "unk_token"])
            if (model.Optional(name) is { } given) throw given.Bad($"a model with {name} is not supported: {OnlyLlama3}");
        foreach (string name in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
            if (model.Optional(name) is { } given) given.RequireText("", OnlyLlama3);
        foreach (string name in (ReadOnlySpan<string>)["fuse_unk", "byte_fallback"])
            if (model.Optional(name) is { } given && given.Flag()) throw given.Bad($"true is not supported: {OnlyLlama3}");

        var vocabulary = TokenizerParts.Vocabulary(model, added, OnlyLlama3);
        foreach (var (spelling, id) in vocabulary)
            if (spelling.Length > RankFile.MaxTokenBytes)
                throw model.Required("vocab").Bad($"the token with id {id} has {spelling.Length} bytes; expected at most {RankFile.MaxTokenBytes}");
        MergeOrder.Check(model.Required("merges"), vocabulary, model.Optional("ignore_merges")?.Flag() ?? false);
        return vocabulary;
    }

    static SplitPattern ReadSplit(JsonPart part)
    {
        part.Required("type").RequireText("Sequence", OnlyLlama3);
        var steps = part.Required("pretokenizers").Elements().ToArray();
        if (steps.Length != 2) throw part.Bad($"{steps.Length} steps; expected two, Split and ByteLevel: {OnlyLlama3}");
        steps[0].Required("type").RequireText("Split", OnlyLlama3);
        steps[0].Required("behavior").RequireText("Isolated", OnlyLlama3);
        if (steps[0].Optional("invert")?.Flag() == true) throw steps[0].Bad("an inverted split is not supported");
        steps[1].Required("type").RequireText("ByteLevel", OnlyLlama3);
        if (steps[1].Required("add_prefix_space").Flag()) throw steps[1].Bad("add_prefix_space is not supported");
        if (steps[1].Optional("use_regex")?.Flag() ?? true) throw steps[1].Bad("use_regex, a second split, is not supported");
        var pattern = steps[0].Required("pattern").Required("Regex");
        try
        {
            return new SplitPattern(pattern.Text());
        }
        catch (FormatException error)
        {
            throw pattern.Bad(error.Message);
        }
    }
}
