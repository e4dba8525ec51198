namespace HybridArchitectures.Tokenization;

/// <summary>Parts of a <c>tokenizer.json</c> that readers of different layouts share; <c>layout</c> says in refusals what the reader takes.</summary>
static class TokenizerParts
{
    /// <summary>The added tokens.</summary>
    public static List<AddedToken> Added(JsonPart root, string layout)
    {
        var added = new List<AddedToken>();
        if (root.Optional("added_tokens") is not { } list) return added;
        foreach (var entry in list.Elements())
        {
            entry.RequireOnly("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special");
            foreach (string name in (ReadOnlySpan<string>)["single_word", "lstrip", "rstrip"])
                if (entry.Optional(name)?.Flag() == true) throw entry.Bad($"an added token with {name} is not supported: {layout}");
            var token = new AddedToken(entry.Required("id").Id(), entry.Required("content").Text(), entry.Optional("special")?.Flag() ?? false);
            if (token.Text.Length == 0) throw entry.Bad("the added token is empty");
            foreach (var other in added)
                if (other.Id == token.Id || other.Text == token.Text) throw entry.Bad($"id {token.Id} or text \"{token.Text}\" is given twice among the added tokens");
            added.Add(token);
        }
        return added;
    }

    /// <summary>A byte-level vocabulary without the added tokens, from spelling to id; every single byte is in it.</summary>
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
                continue;
            }
            if (spelling.Length == 0 || !ByteAlphabet.TryRead(spelling, out _)) throw vocab.Bad($"\"{spelling}\" is not in the spelling of a byte-level vocabulary: {layout}");
            vocabulary.Add(spelling, id);
        }
        for (int value = 0; value < 256; value++)
            if (!vocabulary.ContainsKey(ByteAlphabet.Spell([(byte)value]))) throw vocab.Bad($"no token for the single byte 0x{value:X2}: {layout}");
        return vocabulary;
    }

    /// <summary>The text of the token that a template puts before a text, or null.</summary>
    public static string? Begin(JsonPart part, List<AddedToken> added, string layout, bool trims = false)
    {
        switch (part.Required("type").Text())
        {
            case "Sequence":
                string? begin = null;
                foreach (var step in part.Required("processors").Elements()) begin = Begin(step, added, layout, trims) ?? begin;
                return begin;
            case "ByteLevel":
                if (!trims && part.Optional("trim_offsets")?.Flag() == true) throw part.Bad("trim_offsets is not supported: it gives other spans");
                return null;
            case "TemplateProcessing":
                string? single = ReadTexts(part.Required("single"), 1, layout), pair = ReadTexts(part.Required("pair"), 2, layout);
                if (single != pair) throw part.Bad("the templates of one text and of a pair begin a text differently");
                if (single is not null && !added.Exists(token => token.Text == single)) throw part.Bad($"the template's token \"{single}\" is not among the added tokens");
                return single;
            case var type:
                throw part.Bad($"\"{type}\" is not supported: {layout}");
        }
    }

    // each text with at most one token before it, the same for each
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
            if (!pieces.TryDequeue(out piece) || piece.Optional("Sequence") is not { } sequence) throw template.Bad($"expected text {(text == 0 ? "A" : "B")}: {layout}");
            sequence.Required("id").RequireText(text == 0 ? "A" : "B", layout);
            if (sequence.Required("type_id").Id() != text) throw sequence.Bad($"type_id; expected {text}");
            if (text > 0 && own != begin) throw template.Bad("the second text begins otherwise than the first");
            begin = own;
        }
        return pieces.Count == 0 ? begin : throw template.Bad($"a token after the text is not supported: {layout}");
    }
}
