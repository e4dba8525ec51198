namespace HybridArchitectures.Design;

/// <summary>
/// Contains the sizes of a delta rule behind a causal convolution of queries, keys and values, and counts its work. Each head has a state of K x V
/// numbers.
/// </summary>
readonly record struct DeltaStateSize(
    int Heads, int KeyHeadSize, int ValueHeadSize, int ChunkSize, int ConvolutionWidth, int ConvolutionChannels)
{
    double States => (double)Heads * ValueHeadSize * KeyHeadSize;

    /// <summary>Checks the ranges of the decays and the time steps at the start of training.</summary>
    public static void CheckRates(Interval decays, Interval timeSteps, double timeStepFloor)
    {
        Interval.CheckPositive(decays, "decayRange");
        Interval.CheckPositive(timeSteps, "timeStepRange");
        Require.NotNegative(timeStepFloor, nameof(timeStepFloor));
    }

    /// <summary>Returns the operations per token of decaying, reading, writing and reading the state, and within a chunk.</summary>
    public double CountMixingFlops(FlopAccounting accounting, SeenTokens seen)
    {
        // decay, what the key reads, what is written, what the query reads
        if (accounting == FlopAccounting.Paper) return 7 * States;
        double states = 6 * States;
        if (seen.RowLength is not { } length) return states;
        return Heads * (double)Math.Min(ChunkSize, length) * (5.0 * KeyHeadSize + 3.0 * ValueHeadSize) + states;
    }

    /// <summary>Returns the cache of a row.</summary>
    public MixerCache CountCache(int elementSize) => new(
        Convolutions: (ConvolutionWidth - 1L) * ConvolutionChannels * elementSize,
        Scans: (long)Heads * ValueHeadSize * KeyHeadSize * MixerCache.ScanElement(elementSize));

    /// <summary>Returns the cache of a row in bytes, as the paper counts it: 2 bytes per element.</summary>
    public double CountPaperCacheBytes() => 2 * (States + ConvolutionWidth * (double)ConvolutionChannels);
}
