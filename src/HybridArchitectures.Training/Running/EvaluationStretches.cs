namespace HybridArchitectures.Training.Running;

/// <summary>
/// Selects the tokens of held-out data that are predicted: stretches that are evenly spread over the data. The selection depends only on the length
/// of the data and the number of tokens, so every context length measures the same tokens. Position t means that the token at t + 1 is predicted.
/// </summary>
sealed class EvaluationStretches
{
    const int MaxStretches = 32, MinStretchTokens = 2048;
    const int MaxBlockTokens = 512, MinBlocks = 8;

    readonly long positions;        // in the whole data
    readonly int stretches;

    /// <summary>Selects the tokens.</summary>
    /// <param name="count">The number of tokens of the data, at least 2.</param>
    /// <param name="tokens">The number of tokens to predict; 0 for all.</param>
    public EvaluationStretches(long count, long tokens)
    {
        positions = count - 1;
        Tokens = tokens == 0 ? positions : Math.Min(tokens, positions);
        stretches = Tokens == positions ? 1 : (int)Math.Clamp(Tokens / MinStretchTokens, 1, MaxStretches);
        BlockTokens = (int)Math.Clamp(Tokens / MinBlocks, 1, MaxBlockTokens);
    }

    /// <summary>Gets the number of predicted tokens.</summary>
    public long Tokens { get; }

    /// <summary>Gets the number of neighbouring tokens that count as one sample for the standard error.</summary>
    public int BlockTokens { get; }

    /// <summary>Gets the number of such blocks.</summary>
    public long Blocks => (Tokens + BlockTokens - 1) / BlockTokens;

    // the number of predicted positions before a stretch, and the number of positions before it that are not predicted
    long PredictedBefore(long stretch) => (long)((Int128)stretch * Tokens / stretches);

    long LeftOutBefore(long stretch) => (long)((Int128)stretch * (positions - Tokens) / stretches);

    (long Start, long End) Stretch(int index)
    {
        long start = PredictedBefore(index) + LeftOutBefore(index);
        return (start, start + PredictedBefore(index + 1) - PredictedBefore(index));
    }

    /// <summary>Returns the index of a predicted position among all of them, or -1 if it is not predicted.</summary>
    public long IndexOf(long position)
    {
        // close enough for both roundings; the neighbours are checked
        int near = (int)((Int128)position * stretches / positions);
        for (int i = Math.Max(0, near - 1); i <= Math.Min(stretches - 1, near + 1); i++)
        {
            var (start, end) = Stretch(i);
            if (position >= start && position < end) return PredictedBefore(i) + position - start;
        }
        return -1;
    }

    /// <summary>
    /// Returns the windows that predict every position once. A context up to the length of a stretch tiles each stretch from its start, with a
    /// shorter window at its end. A longer context tiles the data, and windows without a predicted position are omitted.
    /// </summary>
    public IEnumerable<(long Start, int Length)> Windows(int context)
    {
        var (first, firstEnd) = Stretch(0);
        if (context > firstEnd - first)
        {
            for (long start = 0; start < positions; start += context)
                if (Overlaps(start, Math.Min(start + context, positions))) yield return (start, (int)Math.Min(context, positions - start));
            yield break;
        }
        for (int i = 0; i < stretches; i++)
        {
            var (from, end) = Stretch(i);
            for (long start = from; start < end; start += context) yield return (start, (int)Math.Min(context, end - start));
        }
    }

    bool Overlaps(long start, long end)
    {
        for (int i = 0; i < stretches; i++)
        {
            var stretch = Stretch(i);
            if (stretch.Start < end && stretch.End > start) return true;
        }
        return false;
    }
}
