using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>From messages of Microsoft.Extensions.AI to those of a template.</summary>
static class ChatTurns
{
    public static IReadOnlyList<Tokenization.ChatMessage> FromMessages(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        var turns = new List<Tokenization.ChatMessage>();
        if (!string.IsNullOrEmpty(options?.Instructions)) turns.Add(new(Tokenization.ChatRole.System, options.Instructions));
        foreach (var message in messages)
        {
            if (message is null) throw new ArgumentException("messages holds a null", nameof(messages));
            foreach (var content in message.Contents)
                if (content is not (TextContent or TextReasoningContent or UsageContent)) throw new NotSupportedException($"a message holds a {content.GetType().Name}; the model reads text alone");
            turns.Add(new(Role(message.Role), message.Text));
        }
        return turns.Count > 0 ? turns : throw new ArgumentException("messages is empty; expected at least one", nameof(messages));
    }

    static Tokenization.ChatRole Role(ChatRole role)
    {
        if (role == ChatRole.System) return Tokenization.ChatRole.System;
        if (role == ChatRole.User) return Tokenization.ChatRole.User;
        if (role == ChatRole.Assistant) return Tokenization.ChatRole.Assistant;
        if (role == ChatRole.Tool) return Tokenization.ChatRole.Tool;
        throw new NotSupportedException($"a message is of role \"{role}\"; expected system, user, assistant or tool");
    }

    /// <summary>Refuses what would be ignored.</summary>
    public static void Refuse(ChatOptions options)
    {
        if (options.Tools is { Count: > 0 }) throw new NotSupportedException("options.Tools names tools; the model calls none");
        if (options.ResponseFormat is ChatResponseFormatJson) throw new NotSupportedException("options.ResponseFormat asks for JSON; answers are free text");
        if (options.FrequencyPenalty is not (null or 0)) throw new NotSupportedException("options.FrequencyPenalty is not supported; a repetition penalty can be set in the client's defaults");
        if (options.PresencePenalty is not (null or 0)) throw new NotSupportedException("options.PresencePenalty is not supported; a repetition penalty can be set in the client's defaults");
        if (options.ConversationId is not null) throw new NotSupportedException("options.ConversationId is set; the client keeps no conversations: pass all messages");
    }
}
