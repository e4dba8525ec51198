using HybridArchitectures.Tokenization;
using HybridArchitectures.Training;

namespace HybridArchitectures.Cli;

/// <summary>What tasks named on a command line or in a sweep's file have in common.</summary>
sealed record TaskSettings(int ContextLength, IReadOnlyList<int> Lengths, int Trials, TokenDataset? HeldOut, string? Haystack,
    Func<Tokenizer> Tokenizer);
