using System.Text;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>Formats the messages of ChatML as Qwen3 does.</summary>
static class ChatMlTurns
{
    public const string Start = "<|im_start|>", End = "<|im_end|>";

    const string ThinkStart = "<think>", ThinkEnd = "</think>", ToolStart = "<tool_response>", ToolEnd = "</tool_response>";

    /// <summary>Returns the text between the start and the end of each turn.</summary>
    public static IEnumerable<string> Write(IReadOnlyList<ChatMessage> messages)
    {
        int question = LastQuestion(messages);
        for (int i = 0; i < messages.Count; i++)
        {
            if (messages[i].Role != ChatRole.Tool)
            {
                yield return $"{ChatText.RoleOf(messages[i])}\n{Content(messages, i, question)}";
                continue;
            }
            var results = new StringBuilder(ChatRole.User.Value);
            int next = i;
            while (next < messages.Count && messages[next].Role == ChatRole.Tool)
                results.Append($"\n{ToolStart}\n{messages[next++].Text}\n{ToolEnd}");
            i = next - 1;
            yield return results.ToString();
        }
    }

    // the index of the last turn of the user that is not the result of a tool
    static int LastQuestion(IReadOnlyList<ChatMessage> messages)
    {
        for (int i = messages.Count - 1; i >= 0; i--)
        {
            string content = messages[i].Text;
            bool isResult = content.StartsWith(ToolStart, StringComparison.Ordinal) && content.EndsWith(ToolEnd, StringComparison.Ordinal);
            if (messages[i].Role == ChatRole.User && !isResult) return i;
        }
        return messages.Count - 1;
    }

    static string Content(IReadOnlyList<ChatMessage> messages, int index, int question)
    {
        string content = messages[index].Text;
        if (messages[index].Role != ChatRole.Assistant) return content;
        string thinking = "";
        int end = content.IndexOf(ThinkEnd, StringComparison.Ordinal);
        if (end >= 0)
        {
            string before = content[..end].TrimEnd('\n');
            int start = before.LastIndexOf(ThinkStart, StringComparison.Ordinal);
            thinking = (start < 0 ? before : before[(start + ThinkStart.Length)..]).TrimStart('\n');
            content = content[(content.LastIndexOf(ThinkEnd, StringComparison.Ordinal) + ThinkEnd.Length)..].TrimStart('\n');
        }
        bool keeps = index > question && (index == messages.Count - 1 || thinking.Length > 0);
        return keeps ? $"{ThinkStart}\n{thinking.Trim('\n')}\n{ThinkEnd}\n\n{content.TrimStart('\n')}" : content;
    }
}
