namespace HybridArchitectures.Kernels;

/// <param name="IgnoreIndex">The target that marks a token as not counted.</param>
/// <param name="LabelSmoothing">The share of the target's probability spread over all classes.</param>
/// <param name="ZLoss">Weight of the squared log-normaliser.</param>
/// <param name="LogitScale">Factor on the logits.</param>
/// <param name="Vectorised">Whether the logits' rows are worked on by our own code for main memory.</param>
sealed record CrossEntropyOptions(long IgnoreIndex, double LabelSmoothing, double ZLoss, double LogitScale, bool Vectorised);
