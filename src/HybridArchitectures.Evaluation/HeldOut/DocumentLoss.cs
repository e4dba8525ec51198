namespace HybridArchitectures.Evaluation.HeldOut;

/// <summary>Contains the loss of one document.</summary>
/// <param name="Document">The index of the document in the data.</param>
/// <param name="Tokens">The number of predicted tokens.</param>
/// <param name="Loss">The mean cross entropy in nats per token.</param>
/// <param name="BitsPerByte">The loss in bits per byte of text, or null if the data does not record its bytes.</param>
public sealed record DocumentLoss(int Document, long Tokens, double Loss, double? BitsPerByte);
