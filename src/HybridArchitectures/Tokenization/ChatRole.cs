namespace HybridArchitectures.Tokenization;

/// <summary>Specifies the author of a <see cref="ChatMessage"/>.</summary>
public enum ChatRole
{
    /// <summary>Specifies the instructions before the conversation.</summary>
    System,

    /// <summary>Specifies the user, who asks.</summary>
    User,

    /// <summary>Specifies the model, which answers.</summary>
    Assistant,

    /// <summary>Specifies the result of a tool that the model called. Llama 3 calls this role "ipython".</summary>
    Tool,
}
