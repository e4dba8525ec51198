using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>Converts a conversation to the tokens that a model was trained on, and defines what ends its answer.</summary>
public sealed class ChatTemplate
{
    readonly Func<IReadOnlyList<ChatMessage>, IReadOnlyList<int>> encode;

    /// <summary>Creates a custom template.</summary>
    /// <param name="encode">
    /// Converts the messages to tokens, up to the beginning of the model's answer. Special tokens in a message must be treated as plain text.
    /// </param>
    /// <param name="stopTokens">The tokens that end an answer. The default, null, means those of the tokenizer.</param>
    /// <param name="stop">The texts that end an answer. They are not part of it. The default, null, means none.</param>
    public ChatTemplate(Func<IReadOnlyList<ChatMessage>, IReadOnlyList<int>> encode, IReadOnlyList<int>? stopTokens = null,
        params IReadOnlyList<string> stop)
    {
        ArgumentNullException.ThrowIfNull(encode);
        Require.Items(stop);
        (this.encode, StopTokens, Stop) = (encode, stopTokens, stop);
    }

    /// <summary>Gets the tokens that end an answer. Null means those of the tokenizer.</summary>
    public IReadOnlyList<int>? StopTokens { get; }

    /// <summary>Gets the texts that end an answer. They are not part of it.</summary>
    public IReadOnlyList<string> Stop { get; }

    /// <summary>Returns the tokens of a conversation, up to the beginning of the model's answer.</summary>
    /// <param name="messages">The messages, of which the text is read.</param>
    /// <exception cref="NotSupportedException">
    /// A message has a role other than system, user, assistant and tool, or a content that is not text.
    /// </exception>
    public IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages)
    {
        ChatText.Check(messages);
        return encode(messages);
    }

    /// <summary>Creates the template of Llama 3, see <see cref="Llama3Tokenizer.EncodeChat"/>.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="today">The current date for the system message of Llama 3.2. The default, null, omits it.</param>
    public static ChatTemplate Llama3(Llama3Tokenizer tokenizer, DateOnly? today = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return new(messages => tokenizer.EncodeChat(messages, addGenerationPrompt: true, today));
    }

    /// <summary>
    /// Creates the ChatML template as published for Qwen3, without tool calls: <c>&lt;|im_start|&gt;role</c>, a line break, the content,
    /// <c>&lt;|im_end|&gt;</c>, a line break.
    /// </summary>
    /// <remarks>
    /// Consecutive tool results form one turn of the user, each in <c>&lt;tool_response&gt;</c>. The thinking of an answer (<c>&lt;think&gt;</c> to
    /// <c>&lt;/think&gt;</c>) is omitted if a question of the user follows it. A begin-of-text token comes first if the tokenizer has one.
    /// Conversations of system, user and assistant without thinking are the same in all published forms of ChatML, for example in that of Qwen2.5
    /// with a system message and in that of LFM2. For other features of a model's own template (a default system message, other formats of tool
    /// results), use <see cref="FromFolder"/>.
    /// </remarks>
    /// <param name="tokenizer">A tokenizer with these two special tokens.</param>
    /// <exception cref="ArgumentException">The tokenizer does not have one of them.</exception>
    public static ChatTemplate ChatMl(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        int start = Special(tokenizer, ChatMlTurns.Start), end = Special(tokenizer, ChatMlTurns.End);
        return new(messages =>
        {
            List<int> ids = tokenizer.BeginOfText is { } begin ? [begin] : [];
            foreach (string turn in ChatMlTurns.Write(messages)) ids.AddRange([start, .. tokenizer.Encode(turn), end, .. tokenizer.Encode("\n")]);
            ids.AddRange([start, .. tokenizer.Encode($"{ChatRole.Assistant}\n")]);
            return ids;
        }, [end, .. tokenizer.StopTokens.Except([end])]);
    }

    /// <summary>
    /// Reads the chat template of a checkpoint and renders it as transformers does. The template is <c>chat_template.jinja</c>, or else
    /// <c>chat_template</c> in <c>chat_template.json</c> or <c>tokenizer_config.json</c>. If there are several, the one named "default" is used.
    /// </summary>
    /// <remarks>
    /// The template can use <c>messages</c> (role and content), <c>add_generation_prompt</c> (true), the special tokens of
    /// <c>tokenizer_config.json</c> (<c>bos_token</c>, <c>eos_token</c>, ...) and <paramref name="variables"/>. Special tokens that the template
    /// writes are recognized. Those in a message are treated as plain text.
    /// </remarks>
    /// <param name="folder">The folder of the checkpoint.</param>
    /// <param name="tokenizer">The tokenizer of the checkpoint.</param>
    /// <param name="variables">
    /// Additional variables, for example <c>enable_thinking</c>. Values are Booleans, integers, numbers or strings. The default, null, means none.
    /// </param>
    /// <param name="now">The date and time for the template. The default, null, means the current time of each conversation.</param>
    /// <exception cref="FileNotFoundException">The folder has no chat template.</exception>
    /// <exception cref="InvalidDataException">
    /// A file is damaged, or the template uses an unsupported part of Jinja. The message names the line.
    /// </exception>
    /// <exception cref="ArgumentException">A variable has another type.</exception>
    public static ChatTemplate FromFolder(string folder, Tokenizer tokenizer, IReadOnlyDictionary<string, object>? variables = null,
        DateTime? now = null)
    {
        Require.NotBlank(folder);
        ArgumentNullException.ThrowIfNull(tokenizer);
        var template = new FolderTemplate(folder, variables);
        return new(messages =>
        {
            var (text, mark) = template.Render(messages, tokenizer.SpecialTokens.Keys, now ?? DateTime.Now);
            return tokenizer.EncodeMarked(text, mark);
        });
    }

    /// <summary>Returns whether a folder contains a chat template that <see cref="FromFolder"/> can read.</summary>
    /// <exception cref="InvalidDataException">A file is damaged. The message names the position and the reason.</exception>
    public static bool IsInFolder(string folder)
    {
        Require.NotBlank(folder);
        return FolderTemplate.Find(folder) is not null;
    }

    /// <summary>
    /// Creates a template that writes plain lines, <c>user: ...</c>, for models without a template. The next line of the user ends an answer.
    /// </summary>
    public static ChatTemplate Plain(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return new(messages => tokenizer.Encode(
            string.Concat(messages.Select(message => $"{ChatText.RoleOf(message)}: {message.Text.Trim()}\n")) + $"{ChatRole.Assistant}:",
            tokenizer.BeginOfText is not null),
            stop: [$"\n{ChatRole.User}:"]);
    }

    static int Special(Tokenizer tokenizer, string text) =>
        tokenizer.SpecialTokens.TryGetValue(text, out int id)
            ? id
            : throw Require.Unfit(nameof(tokenizer), $"tokenizer has no special token {text}", "one with the tokens of the template");
}
