using Microsoft.Extensions.AI;

namespace HybridArchitectures.Tokenization;

/// <summary>Reads the messages of conversations. Models read text of four roles.</summary>
static class ChatText
{
    static readonly ChatRole[] roles = [ChatRole.System, ChatRole.User, ChatRole.Assistant, ChatRole.Tool];

    /// <summary>Checks that a model can read messages.</summary>
    /// <exception cref="ArgumentException">A message is null.</exception>
    /// <exception cref="NotSupportedException">A message has another role, or a content that is not text.</exception>
    public static void Check(IReadOnlyList<ChatMessage> messages)
    {
        Require.Items(messages);
        foreach (var message in messages)
        {
            _ = RoleOf(message);
            foreach (var content in message.Contents)
                if (content is not (TextContent or TextReasoningContent or UsageContent))
                    throw new NotSupportedException($"a message contains a {content?.GetType().Name ?? "null"}; the model reads text only");
        }
    }

    /// <summary>Returns the role of a message as templates name it: system, user, assistant or tool.</summary>
    public static string RoleOf(ChatMessage message) => Array.IndexOf(roles, message.Role) is >= 0 and var index ? roles[index].Value
        : throw new NotSupportedException($"the role of a message is \"{message.Role}\"; expected system, user, assistant or tool");
}
