using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Tokenization;

/// <summary>Contains what the files next to a tokenizer say about its tokens.</summary>
/// <param name="EndOfText">The <c>eos_token</c> of <c>tokenizer_config.json</c>.</param>
/// <param name="Padding">The <c>pad_token</c> of <c>tokenizer_config.json</c>.</param>
/// <param name="Stop">The ids that end a text.</param>
sealed record FolderTokens(string? EndOfText, string? Padding, IReadOnlyList<int> Stop)
{
    const string EndKey = "eos_token_id";

    /// <summary>Reads those files of a folder that exist.</summary>
    /// <exception cref="InvalidDataException">A file is damaged. The message names the position and the reason.</exception>
    public static FolderTokens Read(string folder)
    {
        string path = Path.Combine(folder, "tokenizer_config.json");
        if (!File.Exists(path)) return new(null, null, ReadStop(folder));
        using var document = JsonPart.Parse(path, BoundedFile.MaxConfigBytes);
        var config = new JsonPart(path, "", document.RootElement);
        return new(Text(config.Optional("eos_token")), Text(config.Optional("pad_token")), ReadStop(folder));
    }

    /// <summary>Reads <c>eos_token_id</c>, a number or a list, from <c>generation_config.json</c>, or else from <c>config.json</c>.</summary>
    /// <exception cref="InvalidDataException">A file is damaged. The message names the position and the reason.</exception>
    public static IReadOnlyList<int> ReadStop(string folder)
    {
        if (Find(Path.Combine(folder, "generation_config.json"), EndKey) is { } generation) return Ids(generation);
        string config = Path.Combine(folder, "config.json");
        if (Find(config, EndKey) is { } own) return Ids(own);
        // the configuration of a model for text and images contains that of its text model
        return Find(config, "text_config") is { IsObject: true } text && text.Optional(EndKey) is { } inner ? Ids(inner) : [];
    }

    static JsonPart? Find(string path, string key)
    {
        if (!File.Exists(path)) return null;
        foreach (var property in PretrainedConfig.Read(path).Entries)
            if (property.Name == key && property.Value.ValueKind != JsonValueKind.Null) return new JsonPart(path, key, property.Value);
        return null;
    }

    static IReadOnlyList<int> Ids(JsonPart value) => [.. (value.IsArray ? value.Elements() : [value]).Select(id => id.Integer()).Distinct()];

    // the value is a text, or an object that describes an added token
    internal static string? Text(JsonPart? value)
    {
        if (value is not { } given) return null;
        return given.IsObject ? given.Optional("content")?.Text() : given.Text();
    }
}
