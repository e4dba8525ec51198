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

    /// <summary>
    /// ChatML as the published template of Qwen3 writes it without tools to call: <c>&lt;|im_start|&gt;role</c>, a line break, the content,
    /// <c>&lt;|im_end|&gt;</c>, a
    /// line break.
    /// </summary>
    /// <remarks>
    /// The results of tools that follow one another are one turn of the user, each in <c>&lt;tool_response&gt;</c>. The thinking of an answer
    /// (<c>&lt;think&gt;</c> to <c>&lt;/think&gt;</c>) is left out where a question of the user follows it. A begin-of-text token stands first if
    /// the tokenizer has one.
    /// Conversations of system, user and assistant without thinking are the same in all published forms of ChatML, such as Qwen2.5's after a system
    /// turn, and LFM2's.
    /// For what else another model's template does (a default system turn, tool turns in other words), use <see cref="FromFolder"/>.
    /// </remarks>
    /// <param name="tokenizer">A tokenizer with these two special tokens.</param>
    /// <exception cref="ArgumentException">It lacks one of them.</exception>
    public static ChatTemplate ChatMl(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        int start = Special(tokenizer, ChatMlTurns.Start), end = Special(tokenizer, ChatMlTurns.End);
        return new(messages =>
        {
            List<int> ids = tokenizer.BeginOfText is { } begin ? [begin] : [];
            foreach (string turn in ChatMlTurns.Write(messages)) ids.AddRange([start, .. tokenizer.Encode(turn), end, .. tokenizer.Encode("\n")]);
            ids.AddRange([start, .. tokenizer.Encode($"{Name(ChatRole.Assistant)}\n")]);
            return ids;
        }, [end, .. tokenizer.StopTokens.Except([end])]);
    }

    /// <summary>
    /// Reads the chat template of a checkpoint's folder and renders it as transformers does: <c>chat_template.jinja</c>, or <c>chat_template</c> in
    /// <c>chat_template.json</c> or <c>tokenizer_config.json</c> (of several the one named default).
    /// </summary>
    /// <remarks>
    /// The template sees <c>messages</c> (role and content), <c>add_generation_prompt</c> (true), the special tokens of <c>tokenizer_config.json</c>
    /// (<c>bos_token</c>, <c>eos_token</c>, ...) and <paramref name="variables"/>. Special tokens that it writes become tokens; those in a message
    /// stay text.
    /// </remarks>
    /// <param name="folder">The folder.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="variables">
    /// What the template is told besides, such as <c>enable_thinking</c>: flags, whole numbers, numbers and texts. The default, null, is nothing.
    /// </param>
    /// <param name="now">The date and time that the template is told. The default, null, is the clock's at each conversation.</param>
    /// <exception cref="FileNotFoundException">The folder has no chat template.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or the template uses a part of Jinja that is not known; the message names the
    /// line.</exception>
    /// <exception cref="ArgumentException">A variable is of another type.</exception>
    public static ChatTemplate FromFolder(string folder, Tokenizer tokenizer, IReadOnlyDictionary<string, object>? variables = null,
        DateTime? now = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(folder);
        ArgumentNullException.ThrowIfNull(tokenizer);
        var template = new FolderTemplate(folder, variables);
        return new(messages =>
        {
            var (text, mark) = template.Render(messages, tokenizer.SpecialTokens.Keys, now ?? DateTime.Now);
            return tokenizer.EncodeMarked(text, mark);
        });
    }

    /// <summary>Returns whether a folder holds a chat template that <see cref="FromFolder"/> reads.</summary>
    /// <exception cref="InvalidDataException">A file is damaged; the message names the place and the reason.</exception>
    public static bool IsInFolder(string folder)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(folder);
        return FolderTemplate.Find(folder) is not null;
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

    internal static string Name(ChatRole role) => role switch
    {
        ChatRole.System => "system",
        ChatRole.User => "user",
        ChatRole.Assistant => "assistant",
        ChatRole.Tool => "tool",
        _ => throw new ArgumentOutOfRangeException(nameof(role), role, "not a role"),
    };
}
