namespace HybridArchitectures.Generation;

/// <summary>Contains one generated token of one row, and the text that is certain after it.</summary>
/// <param name="Row">The row of the batch.</param>
/// <param name="Id">The id of the token.</param>
/// <param name="Text">
/// Complete characters, often none. Bytes of an incomplete character, and text that may be the beginning of a stop string, are delayed until they are
/// certain.
/// </param>
/// <param name="FinishReason">Why the row ended with this token, or null if it continues.</param>
public sealed record GeneratedPiece(int Row, int Id, string Text, FinishReason? FinishReason)
{
    /// <summary>Gets why the row ended with this token, or null if it continues.</summary>
    public FinishReason? FinishReason { get; init => field = Require.Defined(value, nameof(FinishReason)); } =
        Require.Defined(FinishReason, nameof(FinishReason));
}
