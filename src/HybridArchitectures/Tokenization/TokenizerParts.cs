namespace HybridArchitectures.Tokenization;

/// <summary>Contains the parsers that the readers of different layouts share. <c>layout</c> describes the supported layout in messages.</summary>
static class TokenizerParts
{
    // a tree of all added tokens has a node for each character
    const int MaxAddedCharacters = 1 << 22;

    /// <summary>Reads the added tokens.</summary>
    public static List<AddedToken> Added(JsonPart root)
    {
        var added = new List<AddedToken>();
        if (root.Optional("added_tokens") is not { } list) return added;
        var ids = new HashSet<int>();
        var texts = new HashSet<string>(StringComparer.Ordinal);
        long characters = 0;
        foreach (var entry in list.Elements())
        {
            entry.RequireOnly("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special");
            bool Flag(string name) => entry.Optional(name)?.Flag() ?? false;
            var token = new AddedToken(entry.Required("id").Id(), entry.Required("content").Text(), Flag("special"))
            {
                Normalized = Flag("normalized"), LeftStrip = Flag("lstrip"), RightStrip = Flag("rstrip"), SingleWord = Flag("single_word"),
            };
            if (token.Text.Length == 0) throw entry.Bad("the added token is empty");
            if (token.Text.Length > RankFile.MaxTokenBytes)
                throw entry.Bad($"the added token has {token.Text.Length} characters; expected at most {RankFile.MaxTokenBytes}");
            if ((characters += token.Text.Length) > MaxAddedCharacters)
                throw entry.Bad($"the added tokens up to this one have {characters} characters; expected at most {MaxAddedCharacters} in all");
            if (!ids.Add(token.Id) || !texts.Add(token.Text))
                throw entry.Bad($"id {token.Id} or text \"{token.Text}\" occurs twice in the added tokens");
            added.Add(token);
        }
        return added;
    }

    /// <summary>
    /// Reads a byte-level vocabulary without the special tokens as a map from spelling to id. It must contain every single byte that UTF-8 uses.
    /// </summary>
    public static Dictionary<string, int> Vocabulary(JsonPart model, List<AddedToken> added, string layout)
    {
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
                if (token.Special || !ByteAlphabet.TryRead(spelling, out _)) continue;
            }
            if (spelling.Length == 0 || !ByteAlphabet.TryRead(spelling, out _))
                throw vocab.Bad($"\"{spelling}\" is not in the spelling of a byte-level vocabulary: {layout}");
            vocabulary.Add(spelling, id);
        }
        for (int value = 0; value < 256; value++)
            if (ByteAlphabet.IsOfUtf8((byte)value) && !vocabulary.ContainsKey(ByteAlphabet.Spell([(byte)value])))
                throw vocab.Bad($"no token for the single byte 0x{value:X2}: {layout}");
        return vocabulary;
    }

    /// <summary>Reads a list of merges: the ids of both halves and of the whole, and the position in the file.</summary>
    public static IEnumerable<(int Left, int Right, int Whole, JsonPart Part)> Merges(JsonPart list, Dictionary<string, int> vocabulary)
    {
        foreach (var merge in list.Elements())
        {
            string[] halves = merge.IsArray ? [.. merge.Elements().Select(half => half.Text())] : merge.Text().Split(' ');
            if (halves.Length != 2) throw merge.Bad("expected the two halves of a merge");
            if (!vocabulary.TryGetValue(halves[0], out int left) || !vocabulary.TryGetValue(halves[1], out int right)
                || !vocabulary.TryGetValue(halves[0] + halves[1], out int whole))
                throw merge.Bad($"\"{halves[0]}\", \"{halves[1]}\" or their concatenation is not in the vocabulary");
            yield return (left, right, whole, merge);
        }
    }

    /// <summary>
    /// Reads the post-processor: the text of the token that a template puts before a text, and how spans are trimmed. Each result is null if there is
    /// none.
    /// </summary>
    public static (string? Begin, TrimmedSpans? Trimming) PostProcessor(JsonPart part, List<AddedToken> added, string layout)
    {
        switch (part.Required("type").Text())
        {
            case "Sequence":
                string? begin = null;
                TrimmedSpans? trimming = null;
                foreach (var step in part.Required("processors").Elements())
                {
                    var (stepBegin, stepTrimming) = PostProcessor(step, added, layout);
                    if (stepTrimming is not null && (trimming is not null || begin is not null))
                        throw step.Bad("trim_offsets after another step is not supported");
                    (begin, trimming) = (stepBegin ?? begin, stepTrimming ?? trimming);
                }
                return (begin, trimming);
            case "ByteLevel":
                return (null, part.Optional("trim_offsets")?.Flag() == true ? new TrimmedSpans(part.Optional("add_prefix_space")?.Flag() ?? true)
                    : null);
            case "TemplateProcessing":
                string? single = ReadTexts(part.Required("single"), 1, layout), pair = ReadTexts(part.Required("pair"), 2, layout);
                if (single != pair) throw part.Bad("the template of one text and that of a pair begin differently");
                if (single is not null && !added.Exists(token => token.Text == single))
                    throw part.Bad($"the token \"{single}\" of the template is not in the added tokens");
                return (single, null);
            case var type:
                throw part.Bad($"\"{type}\" is not supported: {layout}");
        }
    }

    // each text has at most one token before it, the same for all texts
    static string? ReadTexts(JsonPart template, int texts, string layout)
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
            if (!pieces.TryDequeue(out piece) || piece.Optional("Sequence") is not { } sequence)
                throw template.Bad($"expected text {(text == 0 ? "A" : "B")}: {layout}");
            sequence.Required("id").RequireText(text == 0 ? "A" : "B", layout);
            if (sequence.Required("type_id").Id() != text) throw sequence.Bad($"type_id; expected {text}");
            if (text > 0 && own != begin) throw template.Bad("the second text begins differently from the first");
            begin = own;
        }
        return pieces.Count == 0 ? begin : throw template.Bad($"a token after the text is not supported: {layout}");
    }
}
