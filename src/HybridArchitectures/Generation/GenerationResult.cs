namespace HybridArchitectures.Generation;

/// <summary>Contains the text generated for one prompt.</summary>
/// <param name="Text">The text after the prompt, without the stop string or stop token that ended it.</param>
/// <param name="Ids">The generated tokens, including a stop token.</param>
/// <param name="PromptIds">The tokens of the prompt as the model received them.</param>
/// <param name="FinishReason">Why the generation ended.</param>
/// <param name="Seed">The seed of the sampling. The same prompt, options and seed give the same result.</param>
public sealed record GenerationResult(string Text, IReadOnlyList<int> Ids, IReadOnlyList<int> PromptIds, FinishReason FinishReason, long Seed)
{
    /// <summary>Gets why the generation ended.</summary>
    public FinishReason FinishReason { get; init => field = Require.Defined(value, nameof(FinishReason)); } =
        Require.Defined(FinishReason, nameof(FinishReason));

    /// <summary>Returns the text, or the tokens if there is no text, with the number of tokens and why the generation ended.</summary>
    public override string ToString() =>
        FormattableString.Invariant($"{(Text.Length > 0 ? Text : $"[{string.Join(", ", Ids)}]")} ({Ids.Count} tokens, {FinishReason}, seed {Seed})");
}
