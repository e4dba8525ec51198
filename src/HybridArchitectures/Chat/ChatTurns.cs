using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>Reads the messages and options of a call of a chat client.</summary>
static class ChatTurns
{
    /// <summary>Returns the instructions of the options, if there are any, and the messages.</summary>
    public static IReadOnlyList<ChatMessage> FromMessages(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        ChatMessage[] given = [.. Require.EachItem(messages)];
        ChatMessage[] turns = string.IsNullOrEmpty(options?.Instructions) ? given : [new(ChatRole.System, options.Instructions), .. given];
        return turns.Length > 0 ? turns : throw Require.Unfit(nameof(messages), "messages is empty", "at least one");
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
