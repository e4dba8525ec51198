using System.Text;
using HybridArchitectures.Chat.Jinja;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>Represents the chat template of a checkpoint, with the special tokens that it can use.</summary>
sealed class FolderTemplate
{
    const string Key = "chat_template";

    // noncharacters of Unicode, which are reserved for the internal use of a program
    const char FirstMark = '\uFDD0', LastMark = '\uFDEF';

    readonly JinjaTemplate template;
    readonly Dictionary<string, object?> variables = new(StringComparer.Ordinal);

    /// <summary>Reads the template of a folder.</summary>
    public FolderTemplate(string folder, IReadOnlyDictionary<string, object>? given)
    {
        if (!Directory.Exists(folder)) throw new FileNotFoundException(HubNames.NoFolder(folder), folder);
        string text = Find(folder) ?? throw new FileNotFoundException(
            $"'{folder}' contains no chat template; expected {Key}.jinja, or {Key} in {Key}.json or tokenizer_config.json");
        try
        {
            template = JinjaTemplate.Parse(text);
        }
        catch (InvalidDataException error)
        {
            throw new InvalidDataException($"{folder}: {error.Message}", error);
        }
        AddSpecialTokens(Path.Combine(folder, "tokenizer_config.json"));
        foreach (var (name, value) in given ?? new Dictionary<string, object>()) variables[name] = Value(name, value);
    }

    /// <summary>Returns the text of the template, or null if the folder has none.</summary>
    public static string? Find(string folder)
    {
        string alone = Path.Combine(folder, $"{Key}.jinja");
        if (File.Exists(alone)) return Encoding.UTF8.GetString(BoundedFile.Read(alone, BoundedFile.MaxConfigBytes)).TrimStart('\uFEFF');
        foreach (string name in (ReadOnlySpan<string>)[$"{Key}.json", "tokenizer_config.json"])
        {
            string path = Path.Combine(folder, name);
            if (!File.Exists(path)) continue;
            using var document = JsonPart.Parse(path, BoundedFile.MaxConfigBytes);
            if (new JsonPart(path, "", document.RootElement).Optional(Key) is { } found) return Text(found);
        }
        return null;
    }

    // the value is a text, or a list of named texts
    static string Text(JsonPart part)
    {
        if (!part.IsArray) return part.Text();
        var named = part.Elements().Select(item => (Name: item.Required("name").Text(), Template: item.Required("template").Text())).ToArray();
        if (named.Length == 0) throw part.Bad("the list is empty");
        return named.FirstOrDefault(item => item.Name == "default", named[0]).Template;
    }

    void AddSpecialTokens(string path)
    {
        if (!File.Exists(path)) return;
        using var document = JsonPart.Parse(path, BoundedFile.MaxConfigBytes);
        var config = new JsonPart(path, "", document.RootElement);
        foreach (string name in (ReadOnlySpan<string>)["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"])
            if (FolderTokens.Text(config.Optional(name)) is { } text) variables[name] = text;
    }

    static object Value(string name, object value) => value switch
    {
        bool or string or long or double => value,
        int number => (long)number,
        float number => (double)number,
        _ => throw Require.Unfit(nameof(value), $"variables[\"{name}\"] is a {value?.GetType().Name ?? "null"}", "a Boolean, a number or a string"),
    };

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="special">The special tokens, which are treated as plain text in messages.</param>
    /// <param name="now">The date and time for the template.</param>
    /// <returns>The text, and the mark that is part of each special token that came from a message.</returns>
    public (string Text, char Mark) Render(IReadOnlyList<ChatMessage> messages, IEnumerable<string> special, DateTime now)
    {
        char mark = FirstMark;
        while (mark < LastMark && messages.Any(message => message.Text.Contains(mark, StringComparison.Ordinal))) mark++;
        string[] longestFirst = [.. special.OrderByDescending(text => text.Length)];
        var turns = new List<object?>();
        foreach (var message in messages)
        {
            turns.Add(new Dictionary<string, object?>(StringComparer.Ordinal)
            {
                ["role"] = ChatText.RoleOf(message),
                ["content"] = Marked(message.Text.Replace(mark.ToString(), "", StringComparison.Ordinal), longestFirst, mark),
            });
        }
        var known = new Dictionary<string, object?>(variables, StringComparer.Ordinal) { ["messages"] = turns, ["add_generation_prompt"] = true };
        return (template.Render(known, now), mark);
    }

    static string Marked(string content, string[] special, char mark)
    {
        foreach (string token in special)
            if (content.Contains(token, StringComparison.Ordinal))
                content = content.Replace(token, token.Insert(1, mark.ToString()), StringComparison.Ordinal);
        return content;
    }
}
