namespace HybridArchitectures.Tokenization;

/// <summary>
/// Reads a <c>tokenizer.json</c> in the layout of Llama 3: a byte-level BPE behind one split pattern. Anything that would give other tokens is refused.
/// </summary>
/// <param name="Tokens">The learned tokens' bytes by id; null where an id belongs to an added token or to none.</param>
/// <param name="Added">The added tokens.</param>
/// <param name="Pattern">The split pattern.</param>
/// <param name="BeginOfText">The text of the token that the template puts before a text, or null.</param>
sealed record TokenizerJson(byte[]?[] Tokens, IReadOnlyList<AddedToken> Added, SplitPattern Pattern, string? BeginOfText)
{
    const string OnlyLlama3 = "this reader takes the layout of Llama 3's tokenizer (byte-level BPE behind one split pattern)";

    /// <summary>Reads the file.</summary>
    /// <exception cref="InvalidDataException">The file is damaged or of another kind; the message names the place and the reason.</exception>
    public static TokenizerJson Read(string path)
    {
        using var document = JsonPart.Parse(path);
        var root = new JsonPart(path, "", document.RootElement);
        root.RequireOnly("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model");
        root.Optional("version")?.RequireText("1.0", "no other version of the format is known");
        foreach (string name in (ReadOnlySpan<string>)["truncation", "padding", "normalizer"])
            if (root.Optional(name) is { } given) throw given.Bad($"a tokenizer with a {name} is not supported: {OnlyLlama3}");
        var added = ReadAdded(root);
        var vocabulary = ReadModel(root.Required("model"), added);
        var pattern = ReadSplit(root.Required("pre_tokenizer"));
        var decoder = root.Required("decoder");
        decoder.Required("type").RequireText("ByteLevel", OnlyLlama3);
        string? begin = root.Optional("post_processor") is { } processor ? ReadTemplate(processor, added) : null;

        var tokens = new byte[]?[Math.Max(vocabulary.Values.DefaultIfEmpty(-1).Max(), added.Select(token => token.Id).DefaultIfEmpty(-1).Max()) + 1];
        foreach (var (spelling, id) in vocabulary)
        {
            ByteAlphabet.TryRead(spelling, out var bytes);
            tokens[id] = bytes;
        }
        return new(tokens, added, pattern, begin);
    }

    static List<AddedToken> ReadAdded(JsonPart root)
    {
        var added = new List<AddedToken>();
        if (root.Optional("added_tokens") is not { } list) return added;
        foreach (var entry in list.Elements())
        {
            entry.RequireOnly("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special");
            foreach (string name in (ReadOnlySpan<string>)["single_word", "lstrip", "rstrip"])
                if (entry.Optional(name)?.Flag() == true) throw entry.Bad($"an added token with {name} is not supported: {OnlyLlama3}");
            var token = new AddedToken(entry.Required("id").Id(), entry.Required("content").Text(), entry.Optional("special")?.Flag() ?? false);
            if (token.Text.Length == 0) throw entry.Bad("the added token is empty");
            foreach (var other in added)
                if (other.Id == token.Id || other.Text == token.Text) throw entry.Bad($"id {token.Id} or text \"{token.Text}\" is given twice among the added tokens");
            added.Add(token);
        }
        return added;
    }

    // spelling to id, without the added tokens
    static Dictionary<string, int> ReadModel(JsonPart model, List<AddedToken> added)
    {
        model.Required("type").RequireText("BPE", OnlyLlama3);
        model.RequireOnly("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges");
        foreach (string name in (ReadOnlySpan<string>)["dropout", "unk_token"])
            if (model.Optional(name) is { } given) throw given.Bad($"a model with {name} is not supported: {OnlyLlama3}");
        foreach (string name in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
            if (model.Optional(name) is { } given) given.RequireText("", OnlyLlama3);
        foreach (string name in (ReadOnlySpan<string>)["fuse_unk", "byte_fallback"])
            if (model.Optional(name) is { } given && given.Flag()) throw given.Bad($"true is not supported: {OnlyLlama3}");

        var vocab = model.Required("vocab");
        var addedById = added.ToDictionary(token => token.Id);
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        var used = new Dictionary<int, string>();
        foreach (var (spelling, value) in vocab.Properties())
        {
            int id = value.Id();
            if (!used.TryAdd(id, spelling)) throw vocab.Bad($"\"{used[id]}\" and \"{spelling}\" share id {id}");
            if (addedById.TryGetValue(id, out var token))
            {
                if (token.Text != spelling) throw vocab.Bad($"\"{spelling}\" and the added token \"{token.Text}\" share id {id}");
                continue;
            }
            if (spelling.Length == 0 || !ByteAlphabet.TryRead(spelling, out _)) throw vocab.Bad($"\"{spelling}\" is not in the spelling of a byte-level vocabulary");
            if (spelling.Length > RankFile.LongestToken) throw vocab.Bad($"the token with id {id} has {spelling.Length} bytes; expected at most {RankFile.LongestToken}");
            vocabulary.Add(spelling, id);
        }
        for (int value = 0; value < 256; value++)
            if (!vocabulary.ContainsKey(ByteAlphabet.Spell([(byte)value]))) throw vocab.Bad($"no token for the single byte 0x{value:X2}");
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

    static string? ReadTemplate(JsonPart part, List<AddedToken> added)
    {
        switch (part.Required("type").Text())
        {
            case "Sequence":
                string? begin = null;
                foreach (var step in part.Required("processors").Elements()) begin = ReadTemplate(step, added) ?? begin;
                return begin;
            case "ByteLevel":
                if (part.Optional("trim_offsets")?.Flag() == true) throw part.Bad("trim_offsets is not supported: it gives other spans");
                return null;
            case "TemplateProcessing":
                string? single = ReadTexts(part.Required("single"), 1), pair = ReadTexts(part.Required("pair"), 2);
                if (single != pair) throw part.Bad("the templates of one text and of a pair begin a text differently");
                if (single is not null && !added.Exists(token => token.Text == single)) throw part.Bad($"the template's token \"{single}\" is not among the added tokens");
                return single;
            case var type:
                throw part.Bad($"\"{type}\" is not supported: {OnlyLlama3}");
        }
    }

    // each text with at most one token before it, the same for each
    static string? ReadTexts(JsonPart template, int texts)
    {
        string? begin = null;
        var pieces = new Queue<JsonPart>(template.Elements());
        for (int text = 0; text < texts; text++)
        {
            string? own = null;
            if (pieces.TryPeek(out var piece) && piece.Optional("SpecialToken") is { } special)
            {
                own = special.Required("id").Text();
                if (special.Required("type_id").Id() != text) throw special.Bad($"type_id; expected {text}");
                pieces.Dequeue();
            }
            if (!pieces.TryDequeue(out piece) || piece.Optional("Sequence") is not { } sequence) throw template.Bad($"expected text {(text == 0 ? "A" : "B")}: {OnlyLlama3}");
            sequence.Required("id").RequireText(text == 0 ? "A" : "B", OnlyLlama3);
            if (sequence.Required("type_id").Id() != text) throw sequence.Bad($"type_id; expected {text}");
            if (text > 0 && own != begin) throw template.Bad("the second text begins otherwise than the first");
            begin = own;
        }
        return pieces.Count == 0 ? begin : throw template.Bad($"a token after the text is not supported: {OnlyLlama3}");
    }
}
