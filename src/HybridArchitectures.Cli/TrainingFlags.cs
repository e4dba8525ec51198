using System.CommandLine;
using HybridArchitectures.Training;

namespace HybridArchitectures.Cli;

/// <summary>The options of a training run on the command line.</summary>
sealed class TrainingFlags
{
    readonly Option<double> rate = new("--learning-rate") { Description = "Peak learning rate.", DefaultValueFactory = _ => 3e-3 };
    readonly Option<int> context = new("--context") { Description = "Tokens per row.", DefaultValueFactory = _ => 256 };
    readonly Option<int> batch = new("--batch") { Description = "Rows per step.", DefaultValueFactory = _ => 8 };
    readonly Option<int> micro = new("--micro-batch") { Description = "Rows per forward pass; 0 for all of a step.", DefaultValueFactory = _ => 0 };
    readonly Option<long?> steps = new("--steps") { Description = "How many steps; give one of --steps, --tokens and --seconds." };
    readonly Option<long?> tokens = new("--tokens") { Description = "How many tokens." };
    readonly Option<double?> seconds = new("--seconds") { Description = "How long." };
    readonly Option<long> seed = new("--seed") { Description = "Seed of the weights and of the data's order.", DefaultValueFactory = _ => 1 };

    public IEnumerable<Option> All => [rate, context, batch, micro, steps, tokens, seconds, seed];

    public long Seed(ParseResult parsed) => parsed.GetValue(seed);

    public TrainingOptions Read(ParseResult parsed, string? folder) => new()
    {
        LearningRate = parsed.GetValue(rate), ContextLength = parsed.GetValue(context), BatchSize = parsed.GetValue(batch),
            MicroBatchSize = parsed.GetValue(micro),
        Duration = Duration(parsed.GetValue(steps), parsed.GetValue(tokens), parsed.GetValue(seconds)), Seed = parsed.GetValue(seed), Folder = folder,
        CheckpointEvery = folder is null ? 0 : 100, EvaluationTokens = 65_536,
    };

    internal static Duration Duration(long? steps, long? tokens, double? seconds)
    {
        int given = (steps is null ? 0 : 1) + (tokens is null ? 0 : 1) + (seconds is null ? 0 : 1);
        if (given != 1) throw new ArgumentException($"{given} of --steps, --tokens and --seconds are given; expected exactly one, such as --steps "
            + $"1000.");
        return steps is { } count ? Training.Duration.Steps(count) : tokens is { } number ? Training.Duration.Tokens(number)
            : Training.Duration.Time(TimeSpan.FromSeconds(seconds!.Value));
    }
}
