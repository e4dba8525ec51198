namespace HybridArchitectures.Kernels;

/// <summary>Contains the options of cross entropy.</summary>
/// <param name="IgnoreIndex">The target that marks a token that does not count.</param>
/// <param name="LabelSmoothing">The share of the target's probability that is spread over all classes.</param>
/// <param name="ZLoss">The weight of the squared log-normalizer.</param>
/// <param name="LogitScale">The multiplier of the logits.</param>
sealed record CrossEntropyOptions(long IgnoreIndex, double LabelSmoothing, double ZLoss, double LogitScale)
{
    /// <summary>Gets the back end for the rows of logits.</summary>
    public KernelBackend Backend { get; init; }

    /// <summary>Gets the bound c of the scaled logits, which become c tanh(logits / c); null for none.</summary>
    public double? LogitCap { get; init; }
}
