namespace HybridArchitectures.Checkpoints;

/// <summary>Describes tensors that files contain in one of several forms. The first form is written.</summary>
sealed record TensorChoice(params IReadOnlyList<TensorRule>[] Forms)
{
    /// <summary>Returns the form of a file, or the first form if the file has none.</summary>
    public IReadOnlyList<TensorRule> In(Func<string, bool> has) => Forms.FirstOrDefault(form => form.Any(rule => has(rule.File))) ?? Forms[0];

    public static implicit operator TensorChoice(TensorRule rule) => new([rule]);
}
