namespace HybridArchitectures.Tokenization;

/// <summary>Specifies the author of a <see cref="ChatMessage"/>.</summary>
public enum ChatRole
{
    /// <summary>The instructions before the conversation.</summary>
    System,

    /// <summary>The user who asks.</summary>
    User,

    /// <summary>The model that answers.</summary>
    Assistant,

    /// <summary>The result of a tool that the model called. Llama 3 calls this role "ipython".</summary>
    Tool,
}
