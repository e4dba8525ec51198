namespace HybridArchitectures.Kernels;

/// <param name="IgnoreIndex">The target that marks a token as not counted.</param>
/// <param name="LabelSmoothing">The share of the target's probability spread over all classes.</param>
/// <param name="ZLoss">Weight of the squared log-normaliser.</param>
/// <param name="LogitScale">Factor on the logits.</param>
/// <param name="Backend">What works on the logits' rows.</param>
sealed record CrossEntropyOptions(long IgnoreIndex, double LabelSmoothing, double ZLoss, double LogitScale, KernelBackend Backend);
