using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Chat;

/// <summary>How a conversation becomes the tokens a model was trained on, and what ends its answer.</summary>
public sealed class ChatTemplate
{
    readonly Func<IReadOnlyList<ChatMessage>, IReadOnlyList<int>> encode;

    /// <summary>A template of your own.</summary>
    /// <param name="encode">From the turns to tokens, up to where the model's answer begins. Special tokens written in a turn must stay text.</param>
    /// <param name="stopTokens">Tokens that end an answer; null for the tokenizer's own.</param>
    /// <param name="stop">Texts that end an answer and are no part of it.</param>
    public ChatTemplate(Func<IReadOnlyList<ChatMessage>, IReadOnlyList<int>> encode, IReadOnlyList<int>? stopTokens = null, params IReadOnlyList<string> stop)
    {
        ArgumentNullException.ThrowIfNull(encode);
        ArgumentNullException.ThrowIfNull(stop);
        (this.encode, StopTokens, Stop) = (encode, stopTokens, stop);
    }

    /// <summary>Tokens that end an answer; null for the tokenizer's own.</summary>
    public IReadOnlyList<int>? StopTokens { get; }

    /// <summary>Texts that end an answer and are no part of it.</summary>
    public IReadOnlyList<string> Stop { get; }

    /// <summary>The tokens of a conversation, up to where the model's answer begins.</summary>
    public IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return encode(messages);
    }

    /// <summary>The template of Llama 3: <see cref="Llama3Tokenizer.EncodeChat"/>.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="today">The date Llama 3.2 is told; null to leave it out.</param>
    public static ChatTemplate Llama3(Llama3Tokenizer tokenizer, DateOnly? today = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return new(messages => tokenizer.EncodeChat(messages, addGenerationPrompt: true, today));
    }

    /// <summary>ChatML: <c>&lt;|im_start|&gt;role</c>, a line break, what is said, <c>&lt;|im_end|&gt;</c>, a line break; used by LFM2 and Qwen.</summary>
    /// <param name="tokenizer">A tokenizer with these two special tokens.</param>
    /// <exception cref="ArgumentException">It lacks one of them.</exception>
    public static ChatTemplate ChatMl(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        int start = Special(tokenizer, "<|im_start|>"), end = Special(tokenizer, "<|im_end|>");
        return new(messages =>
        {
            List<int> ids = tokenizer.BeginOfText is { } begin ? [begin] : [];
            foreach (var message in messages) ids.AddRange([start, .. tokenizer.Encode($"{Name(message.Role)}\n{message.Content}"), end, .. tokenizer.Encode("\n")]);
            ids.AddRange([start, .. tokenizer.Encode($"{Name(ChatRole.Assistant)}\n")]);
            return ids;
        }, [end, .. tokenizer.StopTokens.Except([end])]);
    }

    /// <summary>Turns as lines of plain text, <c>user: ...</c>, for models that know no template; the next line of the user ends an answer.</summary>
    public static ChatTemplate Plain(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return new(messages => tokenizer.Encode(string.Concat(messages.Select(message => $"{Name(message.Role)}: {message.Content.Trim()}\n")) + $"{Name(ChatRole.Assistant)}:", tokenizer.BeginOfText is not null),
            stop: [$"\n{Name(ChatRole.User)}:"]);
    }

    static int Special(Tokenizer tokenizer, string text) =>
        tokenizer.SpecialTokens.TryGetValue(text, out int id) ? id : throw new ArgumentException($"the tokenizer has no special token {text}, which the template needs", nameof(tokenizer));

    static string Name(ChatRole role) => role switch
    {
        ChatRole.System => "system",
        ChatRole.User => "user",
        ChatRole.Assistant => "assistant",
        ChatRole.Tool => "tool",
        _ => throw new ArgumentOutOfRangeException(nameof(role), role, "not a role"),
    };
}
