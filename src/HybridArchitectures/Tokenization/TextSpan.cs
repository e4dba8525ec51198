namespace HybridArchitectures.Tokenization;

/// <summary>Where a token stands in its text.</summary>
/// <param name="Start">The first character the token touches, counted in Unicode code points (not UTF-16 units).</param>
/// <param name="End">One past the last character it touches. A token that holds only part of a character has that character's whole span.</param>
public readonly record struct TextSpan(int Start, int End);
