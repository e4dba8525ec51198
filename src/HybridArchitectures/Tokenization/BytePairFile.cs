namespace HybridArchitectures.Tokenization;

/// <summary>
/// Reads a <c>tokenizer.json</c> that holds a byte-level BPE, as most families have one: any splits, merges in any order. Anything that would give other tokens is refused.
/// </summary>
/// <param name="Vocabulary">Spelling in the byte alphabet to id, without the added tokens.</param>
/// <param name="Merges">The halves and the whole of each merge, first merges first.</param>
/// <param name="TakesWhole">A piece that is a token is that token, whatever the merges say.</param>
/// <param name="Added">The added tokens.</param>
/// <param name="Normalizes">Texts are brought to Unicode's form NFC first.</param>
/// <param name="Steps">From a piece of a text to smaller ones, the last of them in the byte alphabet.</param>
/// <param name="BeginOfText">The text of the token that the template puts before a text, or null.</param>
sealed record BytePairFile(Dictionary<string, int> Vocabulary, IReadOnlyList<(int Left, int Right, int Whole)> Merges, bool TakesWhole, IReadOnlyList<AddedToken> Added, bool Normalizes,
    IReadOnlyList<Func<string, IEnumerable<string>>> Steps, string? BeginOfText)
{
    const string Only = "this reader takes byte-level BPE";

    // ASCII punctuation and Unicode's, as the format's own library tells punctuation
    const string Punctuation = @"[!-/:-@\[-`{-~\p{P}]";

    const string Words = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Reads the file.</summary>
    /// <exception cref="InvalidDataException">The file is damaged or of another kind; the message names the place and the reason.</exception>
    public static BytePairFile Read(string path)
    {
        using var document = JsonPart.Parse(path);
        var root = new JsonPart(path, "", document.RootElement);
        root.RequireOnly("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model");
        root.Optional("version")?.RequireText("1.0", "no other version of the format is known");
        // truncation and padding are the caller's affair: they cut and fill what is encoded
        var added = TokenizerParts.Added(root, Only);
        bool normalizes = root.Optional("normalizer") is { } normalizer && ReadNormalizer(normalizer);
        if (normalizes)
            foreach (var entry in root.Required("added_tokens").Elements())
                if (entry.Optional("normalized")?.Flag() == true) throw entry.Bad("an added token that is looked for in normalised text is not supported");
        var model = root.Required("model");
        var vocabulary = ReadVocabulary(model, added);
        var steps = new List<Func<string, IEnumerable<string>>>();
        int spelled = 0;
        ReadSteps(root.Required("pre_tokenizer"), steps, ref spelled);
        if (spelled != 1) throw root.Required("pre_tokenizer").Bad($"{spelled} ByteLevel steps; expected one: {Only}");
        root.Required("decoder").Required("type").RequireText("ByteLevel", Only);
        return new(vocabulary, ReadMerges(model.Required("merges"), vocabulary), model.Optional("ignore_merges")?.Flag() ?? false, added, normalizes, steps,
            root.Optional("post_processor") is { } processor ? TokenizerParts.Begin(processor, added, Only, trims: true) : null);
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
        model.RequireOnly("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges");
        if (model.Optional("dropout") is { } dropout) throw dropout.Bad($"a model with dropout is not supported: {Only}");
        foreach (string name in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
            if (model.Optional(name) is { } given) given.RequireText("", Only);
        if (model.Optional("byte_fallback") is { } fallback && fallback.Flag()) throw fallback.Bad($"true is not supported: {Only}");
        return TokenizerParts.Vocabulary(model, added, Only);
    }

    static List<(int, int, int)> ReadMerges(JsonPart list, Dictionary<string, int> vocabulary)
    {
        var merges = new List<(int, int, int)>();
        var seen = new HashSet<(int, int)>();
        foreach (var merge in list.Elements())
        {
            string[] halves = merge.IsArray ? [.. merge.Elements().Select(half => half.Text())] : merge.Text().Split(' ');
            if (halves.Length != 2) throw merge.Bad("expected the two halves of a merge");
            if (!vocabulary.TryGetValue(halves[0], out int left) || !vocabulary.TryGetValue(halves[1], out int right) || !vocabulary.TryGetValue(halves[0] + halves[1], out int whole))
                throw merge.Bad($"\"{halves[0]}\", \"{halves[1]}\" or the two together are not in the vocabulary");
            if (!seen.Add((left, right))) throw merge.Bad($"the merge of \"{halves[0]}\" and \"{halves[1]}\" is given twice");
            merges.Add((left, right, whole));
        }
        return merges;
    }

    static void ReadSteps(JsonPart part, List<Func<string, IEnumerable<string>>> steps, ref int spelled)
    {
        switch (part.Required("type").Text())
        {
            case "Sequence":
                foreach (var step in part.Required("pretokenizers").Elements()) ReadSteps(step, steps, ref spelled);
                break;
            case "ByteLevel":
                if (part.Optional("add_prefix_space")?.Flag() ?? true) throw part.Bad("add_prefix_space is not supported: the bytes of a text's tokens are the text here");
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
                var pattern = part.Required("pattern");
                string expression = pattern.Optional("Regex") is { } regex ? regex.Text() : string.Concat(pattern.Required("String").Text().Select(character => char.IsPunctuation(character) || char.IsSymbol(character) ? $"\\{character}" : character.ToString()));
                bool inverted = part.Optional("invert")?.Flag() == true;
                string kept = part.Required("behavior").Text();
                if (kept == "Removed" && inverted) steps.Add(Cut(pattern, expression, gaps: false));
                else if (kept == "Isolated") steps.Add(Cut(pattern, expression));
                else throw part.Bad($"the behavior \"{kept}\"{(inverted ? ", inverted," : "")} is not supported, only Isolated, and Removed where it is inverted");
                break;
            case var other:
                throw part.Bad($"\"{other}\" is not supported: {Only}");
        }
    }

    // pieces of the pattern, and what lies between
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
        return piece => pattern.Pieces(piece, gaps).ConvertAll(place => piece.Substring(place.Offset, place.Length));
    }
}
