namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents one row of a batch in main memory, which <see cref="TrainingReader"/> fills. Positions after <see cref="Length"/> are padding.
/// </summary>
public sealed class TrainingRow
{
    /// <summary>The target of a position whose loss does not count.</summary>
    public const long NoTarget = -100;

    readonly long[] ids, targets, documents;
    readonly float[] weights;

    /// <summary>Creates an empty row.</summary>
    /// <param name="contextLength">The number of positions, at least 1.</param>
    public TrainingRow(int contextLength)
    {
        Require.InRange(contextLength > 0, nameof(contextLength), contextLength, "at least 1 position");
        (ids, targets, documents, weights) = (new long[contextLength], new long[contextLength], new long[contextLength], new float[contextLength]);
        Clear();
    }

    /// <summary>Gets the number of positions, including padding.</summary>
    public int ContextLength => ids.Length;

    /// <summary>Gets the token ids. The default of each is 0.</summary>
    public Span<long> Ids => ids;

    /// <summary>Gets the token to predict at each position. The default of each is <see cref="NoTarget"/>, whose loss does not count.</summary>
    public Span<long> Targets => targets;

    /// <summary>Gets or sets the number of positions that hold tokens. The default value is <see cref="ContextLength"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is not between 0 and <see cref="ContextLength"/>.</exception>
    public int Length
    {
        get;
        set
        {
            Require.InRange(value >= 0 && value <= ContextLength, nameof(Length), value, $"0 to {ContextLength}");
            field = value;
        }
    }

    /// <summary>Gets or sets the number of bytes of text that the targets represent. The default, null, means unknown.</summary>
    public long? Bytes { get; set; }

    /// <summary>
    /// Returns the document number of each position, which must not decrease along the row. After this call, the row has separate documents.
    /// </summary>
    public Span<long> UseDocuments()
    {
        HasDocuments = true;
        return documents;
    }

    /// <summary>Returns the weight of the loss at each position, at least 0. All are 1 until changed. After this call, the row is weighted.</summary>
    public Span<float> UseWeights()
    {
        HasWeights = true;
        return weights;
    }

    /// <summary>Gets whether <see cref="UseDocuments"/> was called since the row was cleared.</summary>
    public bool HasDocuments { get; private set; }

    /// <summary>Gets whether <see cref="UseWeights"/> was called since the row was cleared.</summary>
    public bool HasWeights { get; private set; }

    /// <summary>Resets everything to the defaults.</summary>
    public void Clear()
    {
        ids.AsSpan().Clear();
        targets.AsSpan().Fill(NoTarget);
        documents.AsSpan().Clear();
        weights.AsSpan().Fill(1);
        (HasDocuments, HasWeights, Bytes, Length) = (false, false, null, ContextLength);
    }

    /// <summary>Fills the row with one sequence: position i reads token i and predicts token i + 1, if it counts.</summary>
    /// <param name="tokens">2 to <see cref="ContextLength"/> + 1 tokens.</param>
    /// <param name="isTarget">Returns whether the token at an index, from 1 on, is a target. The default, null, means that all are.</param>
    /// <exception cref="ArgumentOutOfRangeException">The sequence does not fit.</exception>
    public void SetSequence(ReadOnlySpan<int> tokens, Func<int, bool>? isTarget = null)
    {
        Require.InRange(tokens.Length >= 2 && tokens.Length <= ContextLength + 1, nameof(tokens), tokens.Length, $"2 to {ContextLength + 1} tokens");
        for (int i = 0; i + 1 < tokens.Length; i++)
        {
            ids[i] = tokens[i];
            if (isTarget is null || isTarget(i + 1)) targets[i] = tokens[i + 1];
        }
        Length = tokens.Length - 1;
    }
}
