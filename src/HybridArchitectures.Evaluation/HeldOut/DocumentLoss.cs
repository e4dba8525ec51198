namespace HybridArchitectures.Evaluation;

/// <summary>The loss over one document.</summary>
/// <param name="Document">Its number in the data.</param>
/// <param name="Tokens">How many of its tokens were predicted.</param>
/// <param name="Loss">Mean cross entropy in nats per token.</param>
/// <param name="BitsPerByte">The same in bits per byte of text; null where the data does not know its bytes.</param>
public sealed record DocumentLoss(int Document, long Tokens, double Loss, double? BitsPerByte);
