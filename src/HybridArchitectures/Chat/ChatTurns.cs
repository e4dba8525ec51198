using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>Converts messages of Microsoft.Extensions.AI to those of a template.</summary>
static class ChatTurns
{
    public static IReadOnlyList<Tokenization.ChatMessage> FromMessages(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        var turns = new List<Tokenization.ChatMessage>();
        if (!string.IsNullOrEmpty(options?.Instructions)) turns.Add(new(Tokenization.ChatRole.System, options.Instructions));
        foreach (var message in Require.EachItem(messages))
        {
            foreach (var content in message.Contents)
                if (content is not (TextContent or TextReasoningContent or UsageContent))
                    throw new NotSupportedException($"a message contains a {content.GetType().Name}; the model reads text only");
            turns.Add(new(Role(message.Role), message.Text));
        }
        return turns.Count > 0 ? turns : throw Require.Unfit(nameof(messages), "messages is empty", "at least one");
    }

    static Tokenization.ChatRole Role(ChatRole role)
    {
        if (role == ChatRole.System) return Tokenization.ChatRole.System;
        if (role == ChatRole.User) return Tokenization.ChatRole.User;
        if (role == ChatRole.Assistant) return Tokenization.ChatRole.Assistant;
        if (role == ChatRole.Tool) return Tokenization.ChatRole.Tool;
        throw new NotSupportedException($"the role of a message is \"{role}\"; expected system, user, assistant or tool");
    }

    /// <summary>Refuses options that would have no effect.</summary>
    public static void Refuse(ChatOptions options)
    {
        if (options.Tools is { Count: > 0 }) throw new NotSupportedException("options.Tools contains tools; tool calls are not supported");
        if (options.ResponseFormat is ChatResponseFormatJson)
            throw new NotSupportedException("options.ResponseFormat is JSON; answers are free text");
        if (options.FrequencyPenalty is not (null or 0))
            throw new NotSupportedException("options.FrequencyPenalty is not supported; set a repetition penalty in the client's defaults");
        if (options.PresencePenalty is not (null or 0))
            throw new NotSupportedException("options.PresencePenalty is not supported; set a repetition penalty in the client's defaults");
        if (options.ConversationId is not null)
            throw new NotSupportedException("options.ConversationId is set; the client stores no conversations, pass all messages");
    }
}
