namespace HybridArchitectures.Checkpoints;

/// <summary>Tensors that files write in one of several forms; the first is the one to write.</summary>
sealed record TensorChoice(params IReadOnlyList<TensorRule>[] Forms)
{
    /// <summary>The form a file has; the first where it has none.</summary>
    public IReadOnlyList<TensorRule> In(Func<string, bool> has) => Forms.FirstOrDefault(form => form.Any(rule => has(rule.File))) ?? Forms[0];

    public static implicit operator TensorChoice(TensorRule rule) => new([rule]);
}
