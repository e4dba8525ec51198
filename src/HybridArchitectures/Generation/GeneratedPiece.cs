namespace HybridArchitectures.Generation;

/// <summary>One generated token of one row, and the text that became certain with it.</summary>
/// <param name="Row">The row of the batch.</param>
/// <param name="Id">The token.</param>
/// <param name="Text">
/// Whole characters, often none: bytes of an unfinished character and text that may be the beginning of a stop string are held back until it is clear
/// what they are.
/// </param>
/// <param name="FinishReason">Why the row ended with this token, or null if it goes on.</param>
public sealed record GeneratedPiece(int Row, int Id, string Text, FinishReason? FinishReason);
