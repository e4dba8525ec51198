using System.CommandLine;
using HybridArchitectures.Generation;

namespace HybridArchitectures.Cli;

/// <summary>The options of generation on the command line.</summary>
sealed class SamplingFlags
{
    readonly Option<int> tokens = new("--tokens") { Description = "The most tokens to write.", DefaultValueFactory = _ => 128 };
    readonly Option<double> temperature = new("--temperature") { Description = "0 takes the most probable token each time.",
        DefaultValueFactory = _ => 0.8 };
    readonly Option<double?> topP = new("--top-p") { Description = "Sample from the most probable tokens that reach this probability." };
    readonly Option<long?> seed = new("--seed") { Description = "Seed of the sampling." };
    readonly Option<string?> tokenizer = new("--tokenizer") { Description =
        "A tokenizer's file or folder; the folder's own, or bytes, if left out." };

    public IEnumerable<Option> All => [tokens, temperature, topP, seed, tokenizer];

    public string? Tokenizer(ParseResult parsed) => parsed.GetValue(tokenizer);

    public GenerationOptions Read(ParseResult parsed) => new()
    {
        MaxNewTokens = parsed.GetValue(tokens), Temperature = parsed.GetValue(temperature), TopP = parsed.GetValue(topP),
            Seed = parsed.GetValue(seed),
    };
}
