namespace HybridArchitectures.Tokenization;

/// <summary>A text, or a pair of texts, as tokens. The three lists have one entry per token.</summary>
/// <param name="Ids">The tokens.</param>
/// <param name="Spans">Where each token stands in its own text; (0, 0) for a token that was added.</param>
/// <param name="TypeIds">0 for the first text of a pair, 1 for the second.</param>
public sealed record TokenizedText(IReadOnlyList<int> Ids, IReadOnlyList<TextSpan> Spans, IReadOnlyList<int> TypeIds);
