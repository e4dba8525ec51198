namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Represents a text for <see cref="ModelInspection"/>, as token ids, with the span that attention is to find.</summary>
/// <param name="Ids">The token ids, at least 2.</param>
/// <param name="NeedleStart">The position of the first token of the needle. The default is 0.</param>
/// <param name="NeedleLength">The number of tokens of the needle. The default, 0, measures no attention.</param>
/// <param name="Queries">
/// The number of positions at the end of the text whose attention is measured, such as those that predict the tokens of the answer. The default is 1.
/// </param>
public sealed record InspectionPrompt(IReadOnlyList<int> Ids, int NeedleStart = 0, int NeedleLength = 0, int Queries = 1)
{
    internal void Check(int vocabularySize)
    {
        Require.InRange(Ids is { Count: >= 2 }, $"{nameof(Ids)}.Count", Ids?.Count ?? 0, "at least 2 tokens");
        foreach (int id in Ids!) Require.InRange(id >= 0 && id < vocabularySize, nameof(Ids), id, $"ids from 0 to {vocabularySize - 1}");
        Require.InRange(Queries >= 1 && Queries <= Ids.Count, nameof(Queries), Queries, $"1 to {Ids.Count}");
        Require.InRange(NeedleLength >= 0, nameof(NeedleLength), NeedleLength, "at least 0 tokens");
        int end = Ids.Count - Queries + 1;
        Require.InRange(NeedleStart >= 0 && NeedleStart + NeedleLength <= end, nameof(NeedleStart), NeedleStart,
            $"a needle of {NeedleLength} tokens within the first {end}, before or at the first query");
    }
}
