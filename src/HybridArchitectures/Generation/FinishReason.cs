namespace HybridArchitectures.Generation;

/// <summary>Specifies why a row of generated text ended.</summary>
public enum FinishReason
{
    /// <summary>The model generated a stop token.</summary>
    StopToken,

    /// <summary>The text reached a stop string, which is not part of the text.</summary>
    StopString,

    /// <summary>The maximum number of tokens was reached.</summary>
    MaxNewTokens,
}
