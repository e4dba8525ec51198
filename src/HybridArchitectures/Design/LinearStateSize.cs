using HybridArchitectures.Kernels.Operators;

namespace HybridArchitectures.Design;

/// <summary>Contains the sizes of linear attention with a state of K x V numbers per head, and counts its work.</summary>
readonly record struct LinearStateSize(int Heads, int KeyHeadSize, int ValueHeadSize, int ChunkSize)
{
    double KeyWidth => (double)Heads * KeyHeadSize;

    double ValueWidth => (double)Heads * ValueHeadSize;

    /// <summary>Checks the sizes.</summary>
    public void Check()
    {
        Require.Size(Heads, "heads");
        Require.Size(KeyHeadSize, "keyHeadSize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)Heads * KeyHeadSize, "heads x keyHeadSize");
        Require.Size((long)Heads * ValueHeadSize, "heads x valueHeadSize");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
    }

    /// <summary>Returns the operations per token of decaying, writing and reading the state, and within a chunk.</summary>
    public double CountMixingFlops(FlopAccounting accounting, SeenTokens seen)
    {
        if (accounting == FlopAccounting.Paper) return 5.0 * ValueWidth * KeyHeadSize;
        double states = 4.0 * ValueWidth * KeyHeadSize;
        return seen.RowLength is { } length ? 2.0 * Math.Min(ChunkSize, length) * (KeyWidth + ValueWidth) + states : states;
    }

    /// <summary>Returns the cache of a row.</summary>
    public MixerCache CountCache(int elementSize) =>
        new(Scans: (long)Heads * ValueHeadSize * KeyHeadSize * MixerCache.ScanElement(elementSize));

    /// <summary>Returns the cache of a row in bytes, as the paper counts it: 2 bytes per element.</summary>
    public double CountPaperCacheBytes() => 2.0 * ValueWidth * KeyHeadSize;

    /// <summary>Returns the float32 numbers that the backward pass needs, in bytes per token.</summary>
    public double CountSavedStates(TrainingStepShape step) =>
        SavedStateMemory.LinearAttention(Heads, KeyHeadSize, ValueHeadSize, ChunkSize, step.ElementSize, step.Gpu);

    /// <summary>Returns the description of a mixer with these sizes.</summary>
    /// <param name="title">The name in titles.</param>
    /// <param name="name">The name in sentences.</param>
    /// <param name="color">The colour in pictures.</param>
    public MixerDescription Describe(string title, string name, MixerColor color) => new(title,
        FormattableString.Invariant($"{name} {Heads}x{KeyHeadSize}")
        + (ValueHeadSize == KeyHeadSize ? "" : FormattableString.Invariant($"/{ValueHeadSize}")),
        $"{MixerDescription.Counted(Heads, "head")} × {ValueHeadSize}, keys {KeyHeadSize}", color);
}
