using System.Text.Json;

namespace HybridArchitectures.Tests.Tokenization;

/// <summary>Contains the recorded results of the reference library for a small vocabulary in the layout of Llama 3.</summary>
static class TokenizerCases
{
    public static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Cases", "tokenizer");
    public static readonly string Json = Path.Combine(Folder, "tokenizer.json");
    public static readonly string RankFile = Path.Combine(Folder, "tokenizer.model");
    public static readonly string[] Special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"];

    static readonly Lazy<JsonElement> Root = new(() => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "cases.json"))).RootElement);

    public static IReadOnlyList<JsonElement> Texts => [.. Root.Value.GetProperty("cases").EnumerateArray()];

    public static IReadOnlyList<JsonElement> PartialDecodes => [.. Root.Value.GetProperty("partial_decodes").EnumerateArray()];

    public static IReadOnlyList<JsonElement> Pairs => [.. Root.Value.GetProperty("pairs").EnumerateArray()];

    public static int[] Ids(this JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];

    public static string Text(this JsonElement element, string name) => element.GetProperty(name).GetString()!;

    public static (int, int)[] Spans(this JsonElement element) =>
        [.. element.GetProperty("offsets").EnumerateArray().Select(span => (span[0].GetInt32(), span[1].GetInt32()))];
}
