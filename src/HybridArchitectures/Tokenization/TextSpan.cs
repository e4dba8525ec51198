namespace HybridArchitectures.Tokenization;

/// <summary>Specifies the position of a token in its text.</summary>
/// <param name="Start">The first character of the token, counted in Unicode code points and not in UTF-16 units.</param>
/// <param name="End">One past the last character. A token that contains a part of a character has the span of the whole character.</param>
public readonly record struct TextSpan(int Start, int End);
