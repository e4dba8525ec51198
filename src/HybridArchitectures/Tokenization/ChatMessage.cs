namespace HybridArchitectures.Tokenization;

/// <summary>Represents one message of a conversation.</summary>
/// <param name="Role">The author of the message.</param>
/// <param name="Content">The text. White space around it is removed. Special tokens in it are treated as plain text.</param>
public sealed record ChatMessage(ChatRole Role, string Content)
{
    /// <summary>Gets the role of the author.</summary>
    public ChatRole Role { get; init => field = Require.Defined(value, nameof(Role)); } = Require.Defined(Role, nameof(Role));
}
