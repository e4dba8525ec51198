namespace HybridArchitectures.Tokenization;

/// <summary>One turn of a conversation.</summary>
/// <param name="Role">Who speaks.</param>
/// <param name="Content">What is said; blanks around it are dropped, and special tokens written in it stay text.</param>
public sealed record ChatMessage(ChatRole Role, string Content);
