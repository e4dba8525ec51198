using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Contains the settings that all tasks of a command line or sweep file share.</summary>
sealed record TaskSettings(int ContextLength, IReadOnlyList<int> Lengths, int Trials, TokenDataset? HeldOut, string? Haystack,
    Func<Tokenizer> Tokenizer);
