using System.Text.Json;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Conformance;

/// <summary>
/// Compares a tokenizer with recorded ids, spellings, spans and decoded texts, from its JSON file and from its rank file. The error is the number of
/// texts that differ.
/// </summary>
static class ConformanceTokenizer
{
    public static bool Is(string folder) => File.Exists(Path.Combine(folder, "cases.json")) && File.Exists(Path.Combine(folder, "tokenizer.json"));

    public static IEnumerable<ConformanceResult> Run(string folder)
    {
        string name = Path.GetFileName(folder);
        using var cases = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "cases.json")));
        var results = new List<ConformanceResult>();
        var json = Tokenizer.Load(Path.Combine(folder, "tokenizer.json"));
        results.AddRange(Compare(name, "json", json, cases.RootElement));
        string ranks = Path.Combine(folder, "tokenizer.model");
        if (!File.Exists(ranks)) return results;
        string[] special = [.. json.SpecialTokens.OrderBy(item => item.Value).Select(item => item.Key)];
        results.AddRange(Compare(name, "ranks", Llama3Tokenizer.FromRankFile(ranks, special), cases.RootElement));
        return results;
    }

    static IEnumerable<ConformanceResult> Compare(string name, string file, Tokenizer tokenizer, JsonElement cases) =>
        Kinds(name, file, tokenizer, cases).OfType<ConformanceResult>();

    // none where nothing of the kind is recorded
    static IEnumerable<ConformanceResult?> Kinds(string name, string file, Tokenizer tokenizer, JsonElement cases)
    {
        JsonElement[] Of(string list) => cases.TryGetProperty(list, out var items) ? [.. items.EnumerateArray()] : [];
        ConformanceResult? Count(string kind, IEnumerable<JsonElement> items, Func<JsonElement, bool> same) =>
            items.Any() ? ConformanceRunner.Try(name, $"{file}.{kind}", 0, () => items.Count(item => !same(item))) : null;

        var (texts, partial, pairs) = (Of("cases"), Of("partial_decodes"), Of("pairs"));
        yield return Count("ids", texts, item => tokenizer.Encode(Text(item, "text"), recognizeSpecial: true).SequenceEqual(Ids(item, "ids")));
        yield return Count("ids_with_bos", texts,
            item => tokenizer.Encode(Text(item, "text"), tokenizer.BeginOfText is not null, recognizeSpecial: true)
            .SequenceEqual(Ids(item, "ids_with_bos")));
        yield return Count("tokens", texts, item =>
            Ids(item, "ids").Select(tokenizer.Spelling)
            .SequenceEqual(item.GetProperty("tokens").EnumerateArray().Select(token => token.GetString()!)));
        yield return Count("offsets", texts, item =>
            Spans(tokenizer.EncodeWithSpans(Text(item, "text"), recognizeSpecial: true)).SequenceEqual(Spans(item)));
        yield return Count("decoded", texts, item => tokenizer.Decode(Ids(item, "ids")) == Text(item, "decoded"));
        yield return Count("decoded_without_special", texts,
            item => tokenizer.Decode(Ids(item, "ids"), skipSpecialTokens: true) == Text(item, "decoded_without_special"));
        yield return Count("partial_decodes", partial, item => tokenizer.Decode(Ids(item, "ids")) == Text(item, "decoded"));
        yield return Count("pairs", pairs, item =>
        {
            var pair = tokenizer.EncodePair(Text(item, "first"), Text(item, "second"), tokenizer.BeginOfText is not null, recognizeSpecial: true);
            return pair.Ids.SequenceEqual(Ids(item, "ids")) && pair.TypeIds.SequenceEqual(Ids(item, "type_ids"))
                && Spans(pair).SequenceEqual(Spans(item));
        });
        var byValue = Enumerable.Range(0, tokenizer.VocabularySize)
            .Where(id => tokenizer.Contains(id) && !tokenizer.IsSpecial(id) && tokenizer.Bytes(id).Length == 1)
            .ToDictionary(id => tokenizer.Bytes(id)[0]);
        yield return Count("raw_utf8", texts.Where(item => item.TryGetProperty("raw_utf8_hex", out _)),
            item => tokenizer.Decode(Convert.FromHexString(Text(item, "raw_utf8_hex")).Select(value => byValue[value])) == Text(item, "text"));
    }

    static string Text(JsonElement item, string key) => item.GetProperty(key).GetString()!;

    static int[] Ids(JsonElement item, string key) => [.. item.GetProperty(key).EnumerateArray().Select(id => id.GetInt32())];

    static IEnumerable<(int, int)> Spans(TokenizedText text) => text.Spans.Select(span => (span.Start, span.End));

    static IEnumerable<(int, int)> Spans(JsonElement item) =>
        item.GetProperty("offsets").EnumerateArray().Select(span => (span[0].GetInt32(), span[1].GetInt32()));
}
