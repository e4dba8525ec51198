using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace FineTune;

/// <summary>Contains short conversations, some with several questions.</summary>
static class Conversations
{
    /// <summary>Gets the questions with their answers.</summary>
    public static IReadOnlyList<(string Question, string Answer)> Questions { get; } =
    [
        ("Who are you?", "A small hybrid."),
        ("What do you mix?", "Attention and Mamba."),
        ("Are you large?", "No, tiny."),
        ("What do you read?", "Bytes."),
    ];

    /// <summary>Gets the conversations: each question alone, and each before the next one.</summary>
    public static IReadOnlyList<IReadOnlyList<ChatMessage>> All { get; } =
    [
        .. Questions.Select(pair => Turns(pair)),
        .. Questions.Zip(Questions.Skip(1), (first, second) => Turns(first, second)),
    ];

    static IReadOnlyList<ChatMessage> Turns(params (string Question, string Answer)[] pairs) =>
        [.. pairs.SelectMany(pair => (ChatMessage[])[new(ChatRole.User, pair.Question), new(ChatRole.Assistant, pair.Answer)])];
}
