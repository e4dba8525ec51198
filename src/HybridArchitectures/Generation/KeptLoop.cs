using HybridArchitectures.Sequence;

namespace HybridArchitectures.Generation;

/// <summary>
/// Contains the cache and the captured steps of a generation that has ended. The model saves them, and its next generation of the same kind uses both
/// again and captures nothing.
/// </summary>
/// <param name="Vocabulary">The number of tokens that can be selected.</param>
/// <param name="Rules">The options that the captured step depends on.</param>
/// <param name="Cache">The cache.</param>
/// <param name="Loop">The loop over the cache.</param>
sealed record KeptLoop(int Vocabulary, GenerationOptions Rules, HybridCache Cache, DecodeLoop Loop) : IDisposable
{
    /// <summary>Specifies the maximum size of what is saved, in bytes: the cache, and the copies of states that graphs hold.</summary>
    public const long MaxBytes = 512L << 20;

    /// <summary>Returns whether a generation can use it.</summary>
    public bool Serves(int vocabulary, GenerationOptions options, int rows) =>
        vocabulary == Vocabulary && rows == Cache.Batch && RulesOf(options) == Rules && Loop.IsCurrent;

    /// <summary>Returns the options that a captured step depends on; the others have their defaults.</summary>
    public static GenerationOptions RulesOf(GenerationOptions options) => new()
    {
        Temperature = options.Temperature, TopK = options.TopK, TopP = options.TopP, MinP = options.MinP, TypicalP = options.TypicalP,
        EpsilonCutoff = options.EpsilonCutoff, StateType = options.StateType,
    };

    public void Dispose()
    {
        Loop.Dispose();
        Cache.Dispose();
    }
}
