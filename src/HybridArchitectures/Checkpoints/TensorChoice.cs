namespace HybridArchitectures.Checkpoints;

/// <summary>Describes tensors that files contain in one of several forms. The first form is written.</summary>
sealed record TensorChoice(params IReadOnlyList<TensorRule>[] Forms)
{
    /// <summary>
    /// Returns the form of a file: the first form whose tensors the file has with their shapes, otherwise the first form of which it has a tensor,
    /// otherwise the first form.
    /// </summary>
    /// <param name="has">Returns whether the file has a tensor of this name.</param>
    /// <param name="fits">Returns whether the file has the tensor of a rule with its shape.</param>
    public IReadOnlyList<TensorRule> In(Func<string, bool> has, Func<TensorRule, bool> fits)
    {
        if (Forms.Length == 1) return Forms[0];
        return Forms.FirstOrDefault(form => form.All(fits)) ?? Forms.FirstOrDefault(form => form.Any(rule => has(rule.File))) ?? Forms[0];
    }

    public static implicit operator TensorChoice(TensorRule rule) => new([rule]);
}
