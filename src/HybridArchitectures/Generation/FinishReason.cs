namespace HybridArchitectures.Generation;

/// <summary>Why a row of generated text ended.</summary>
public enum FinishReason
{
    /// <summary>The model gave one of the stop tokens.</summary>
    StopToken,

    /// <summary>The text came to one of the stop strings, which is not part of the text.</summary>
    StopString,

    /// <summary>The maximum number of tokens was reached.</summary>
    MaxNewTokens,
}
