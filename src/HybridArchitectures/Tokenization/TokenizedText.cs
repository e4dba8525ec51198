namespace HybridArchitectures.Tokenization;

/// <summary>Represents a text, or a pair of texts, as tokens. The three lists have one entry per token.</summary>
/// <param name="Ids">The token ids.</param>
/// <param name="Spans">The position of each token in its text; (0, 0) for a token that was added.</param>
/// <param name="TypeIds">0 for tokens of the first text of a pair, 1 for those of the second.</param>
public sealed record TokenizedText(IReadOnlyList<int> Ids, IReadOnlyList<TextSpan> Spans, IReadOnlyList<int> TypeIds);
