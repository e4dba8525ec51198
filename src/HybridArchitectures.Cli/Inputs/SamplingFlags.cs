using System.CommandLine;
using HybridArchitectures.Generation;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Defines the options of generation.</summary>
sealed class SamplingFlags
{
    readonly Flag<int> tokens = new("--tokens", nameof(GenerationOptions.MaxNewTokens))
    {
        Description = "The maximum number of tokens to generate.", DefaultValueFactory = _ => 128,
    };
    readonly Flag<double> temperature = new("--temperature", nameof(GenerationOptions.Temperature))
    {
        Description = "The sampling temperature. 0 selects the most probable token.",
        DefaultValueFactory = _ => 0.8,
    };
    readonly Flag<double?> topP = new("--top-p", nameof(GenerationOptions.TopP))
    {
        Description = "Samples from the most probable tokens with this total probability.",
    };
    readonly Option<long?> seed = new("--seed") { Description = "The seed of the sampling." };
    readonly Option<string?> stateType = new("--state-type")
    {
        Description = "The type in which recurrent states are stored between steps: float32 (the default) or bfloat16.",
    };
    readonly Option<string?> tokenizer = new("--tokenizer")
    {
        Description = "The file or folder of a tokenizer. The default is the tokenizer of the folder, or bytes if it has none.",
    };

    public IEnumerable<Option> All => [tokens, temperature, topP, seed, stateType, tokenizer];

    public string? Tokenizer(ParseResult parsed) => parsed.GetValue(tokenizer);

    public GenerationOptions Read(ParseResult parsed) => new()
    {
        MaxNewTokens = parsed.GetValue(tokens), Temperature = parsed.GetValue(temperature), TopP = parsed.GetValue(topP),
        Seed = parsed.GetValue(seed), StateType = StateType(parsed.GetValue(stateType)),
    };

    static ScalarType? StateType(string? name) => name?.ToUpperInvariant() switch
    {
        null => null,
        "FLOAT32" => ScalarType.Float32,
        "BFLOAT16" => ScalarType.BFloat16,
        _ => throw Require.Refusal("--state-type", name, "float32 or bfloat16"),
    };
}
