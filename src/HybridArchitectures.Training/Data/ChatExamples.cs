using HybridArchitectures.Chat;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Creates an example for each answer in a conversation: the conversation before it in the format of a chat template, and the answer up to the token
/// that ends it.
/// <para>
/// The template is applied to the conversation with and without the answer. What the answer adds after the prompt, up to the first stop token, is
/// what the model must predict. In a template without stop tokens, the answer ends where the next turn begins, with the end-of-text token of the
/// tokenizer.
/// </para>
/// </summary>
sealed class ChatExamples(ChatTemplate template, Tokenizer tokenizer)
{
    readonly IReadOnlyList<int> stops = template.StopTokens ?? tokenizer.StopTokens, opening = template.Encode([]);

    public IEnumerable<TrainingExample> Read(IReadOnlyList<ChatMessage> chat, int index)
    {
        Require.Items(chat, $"chats[{index}]");
        if (!chat.Any(message => message.Role == ChatRole.Assistant))
            throw Require.Unfit("chats", $"chats[{index}] has no answer of the assistant", "at least one in each conversation");
        for (int i = 0; i < chat.Count; i++)
            if (chat[i].Role == ChatRole.Assistant) yield return Read(chat, index, i);
    }

    TrainingExample Read(IReadOnlyList<ChatMessage> chat, int index, int at)
    {
        var prompt = template.Encode([.. chat.Take(at)]);
        var whole = template.Encode([.. chat.Take(at + 1)]);
        if (whole.Count <= prompt.Count || !whole.Take(prompt.Count).SequenceEqual(prompt))
            throw Require.Unfit("chats", $"the tokens of chats[{index}] up to message {at} do not begin with those of its prompt",
                "a template that only appends the answer");
        int end = prompt.Count;
        while (end < whole.Count && !stops.Contains(whole[end])) end++;
        if (end < whole.Count) return new TrainingExample([.. whole.Take(end + 1)], prompt.Count);
        // without the beginning of the next answer, which the template appends
        int next = opening.Count - (tokenizer.BeginOfText is { } begin && opening is [var first, ..] && first == begin ? 1 : 0);
        int[] stop = tokenizer.EndOfText is { } id ? [id] : [];
        return new TrainingExample([.. whole.Take(whole.Count - next), .. stop], prompt.Count);
    }
}
