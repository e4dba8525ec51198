namespace HybridArchitectures.Tokenization;

/// <summary>
/// Reads a <c>tokenizer.json</c> with a byte-level BPE, the format of most model families: any split rules, and merges in any order. Settings that
/// would change the tokens are refused.
/// </summary>
/// <param name="Vocabulary">Maps spellings in the byte alphabet to ids, without the added tokens.</param>
/// <param name="Merges">The merges, ranked in the order of the file.</param>
/// <param name="TakesWhole">Whether a piece that is a token becomes that token, regardless of the merges.</param>
/// <param name="Added">The added tokens.</param>
/// <param name="Normalizes">Whether texts are first converted to Unicode normalization form NFC.</param>
/// <param name="Steps">The steps that split a piece of text into smaller pieces. The last one converts to the byte alphabet.</param>
/// <param name="BeginOfText">The text of the token that the template puts before a text, or null.</param>
/// <param name="Trimming">How white space is removed from spans. Null if spans include it.</param>
sealed record BytePairFile(Dictionary<string, int> Vocabulary, MergeTable Merges, bool TakesWhole, IReadOnlyList<AddedToken> Added, bool Normalizes,
    IReadOnlyList<Func<string, IEnumerable<string>>> Steps, string? BeginOfText, TrimmedSpans? Trimming)
{
    const int MaxSteps = 64;

    const string Only = "this reader takes byte-level BPE";

    // ASCII punctuation and Unicode punctuation, as the tokenizers library defines it
    const string Punctuation = @"[!-/:-@\[-`{-~\p{P}]";

    const string Words = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Reads the file.</summary>
    /// <exception cref="InvalidDataException">The file is damaged or has another format. The message names the position and the reason.</exception>
    public static BytePairFile Read(string path)
    {
        using var document = JsonPart.Parse(path);
        var root = new JsonPart(path, "", document.RootElement);
        root.RequireOnly("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model");
        root.Optional("version")?.RequireText("1.0", "no other version of the format is known");
        // truncation and padding are left to the caller
        var added = TokenizerParts.Added(root);
        bool normalizes = root.Optional("normalizer") is { } normalizer && ReadNormalizer(normalizer);
        var model = root.Required("model");
        var vocabulary = ReadVocabulary(model, added);
        var steps = new List<Func<string, IEnumerable<string>>>();
        int spelled = 0;
        ReadSteps(root.Required("pre_tokenizer"), steps, ref spelled);
        if (spelled != 1) throw root.Required("pre_tokenizer").Bad($"{spelled} ByteLevel steps; expected one: {Only}");
        root.Required("decoder").Required("type").RequireText("ByteLevel", Only);
        var (begin, trimming) = root.Optional("post_processor") is { } processor ? TokenizerParts.PostProcessor(processor, added, Only) : default;
        return new(vocabulary, ReadMerges(model.Required("merges"), vocabulary), model.Optional("ignore_merges")?.Flag()
            ?? false, added, normalizes, steps, begin, trimming);
    }

    static bool ReadNormalizer(JsonPart part)
    {
        if (part.Required("type").Text() != "Sequence")
        {
            part.Required("type").RequireText("NFC", Only);
            return true;
        }
        bool any = false;
        foreach (var step in part.Required("normalizers").Elements()) any |= ReadNormalizer(step);
        return any;
    }

    static Dictionary<string, int> ReadVocabulary(JsonPart model, List<AddedToken> added)
    {
        model.Required("type").RequireText("BPE", Only);
        model.RequireOnly("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
            "ignore_merges", "vocab", "merges");
        if (model.Optional("dropout") is { } dropout) throw dropout.Bad($"a model with dropout is not supported: {Only}");
        foreach (string name in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
            if (model.Optional(name) is { } given) given.RequireText("", Only);
        if (model.Optional("byte_fallback") is { } fallback && fallback.Flag()) throw fallback.Bad($"true is not supported: {Only}");
        return TokenizerParts.Vocabulary(model, added, Only);
    }

    static MergeTable ReadMerges(JsonPart list, Dictionary<string, int> vocabulary)
    {
        var merges = new MergeTable(vocabulary.Count);
        int rank = 0;
        foreach (var (left, right, whole, part) in TokenizerParts.Merges(list, vocabulary))
            if (!merges.TryAdd(left, right, rank++, whole)) throw part.Bad("the merge occurs twice");
        return merges;
    }

    static void ReadSteps(JsonPart part, List<Func<string, IEnumerable<string>>> steps, ref int spelled)
    {
        if (steps.Count >= MaxSteps) throw part.Bad($"more than {MaxSteps} steps");
        switch (part.Required("type").Text())
        {
            case "Sequence":
                foreach (var step in part.Required("pretokenizers").Elements()) ReadSteps(step, steps, ref spelled);
                break;
            case "ByteLevel":
                if (part.Optional("add_prefix_space")?.Flag() ?? true)
                    throw part.Bad("add_prefix_space is not supported; the tokens would not spell the text");
                if (part.Optional("use_regex")?.Flag() ?? true) steps.Add(Cut(part, Words));
                steps.Add(piece => [ByteAlphabet.Spell(System.Text.Encoding.UTF8.GetBytes(piece))]);
                spelled++;
                break;
            case "Digits":
                steps.Add(Cut(part, part.Optional("individual_digits")?.Flag() == true ? @"\p{N}" : @"\p{N}+"));
                break;
            case "Punctuation":
                steps.Add(Cut(part, (part.Optional("behavior")?.Text() ?? "Isolated") switch
                {
                    "Isolated" => Punctuation,
                    "Contiguous" => Punctuation + "+",
                    var behavior => throw part.Bad($"the behavior \"{behavior}\" is not supported, only Isolated and Contiguous"),
                }));
                break;
            case "Split":
                steps.Add(ReadSplit(part));
                break;
            case var other:
                throw part.Bad($"\"{other}\" is not supported: {Only}");
        }
    }

    static Func<string, IEnumerable<string>> ReadSplit(JsonPart part)
    {
        var pattern = part.Required("pattern");
        string expression = pattern.Optional("Regex") is { } regex ? regex.Text() : Literally(pattern.Required("String").Text());
        bool inverted = part.Optional("invert")?.Flag() == true;
        string kept = part.Required("behavior").Text();
        if (kept == "Removed" && inverted) return Cut(pattern, expression, gaps: false);
        if (kept == "Isolated") return Cut(pattern, expression);
        throw part.Bad($"the behavior \"{kept}\"{(inverted ? ", inverted," : "")} is not supported, only Isolated, and Removed where it is inverted");
    }

    static string Literally(string text) =>
        string.Concat(text.EnumerateRunes().Select(rune =>
            string.Create(System.Globalization.CultureInfo.InvariantCulture, $"\\x{{{rune.Value:X}}}")));

    // the matches of the pattern, and the text between them
    static Func<string, IEnumerable<string>> Cut(JsonPart part, string expression, bool gaps = true)
    {
        SplitPattern pattern;
        try
        {
            pattern = new SplitPattern(expression);
        }
        catch (FormatException error)
        {
            throw part.Bad(error.Message);
        }
        return piece => pattern.Pieces(piece, gaps).ConvertAll(span => piece.Substring(span.Offset, span.Length));
    }
}
