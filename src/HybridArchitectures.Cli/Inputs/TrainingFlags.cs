using System.CommandLine;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Defines the options of a training run.</summary>
sealed class TrainingFlags
{
    const string AdamW = "adamw", Muon = "muon";
    const long CheckpointSteps = 100, CheckpointStepsOnGpu = 1000;
    const double MinSeconds = 1e-3, MaxSeconds = 1e9;

    readonly Flag<double> rate = new("--learning-rate", nameof(TrainingOptions.LearningRate))
    {
        Description = "The peak learning rate.", DefaultValueFactory = _ => 3e-3,
    };
    readonly Flag<int> context = new("--context", nameof(TrainingOptions.ContextLength))
    {
        Description = "The number of tokens per row.", DefaultValueFactory = _ => 256,
    };
    readonly Flag<int> batch = new("--batch", nameof(TrainingOptions.BatchSize))
    {
        Description = "The number of rows per step.", DefaultValueFactory = _ => 8,
    };
    readonly Flag<int> micro = new("--micro-batch", nameof(TrainingOptions.MicroBatchSize))
    {
        Description = "The number of rows per forward pass. 0 means all rows of a step.",
        DefaultValueFactory = _ => 0,
    };
    readonly Flag<long?> steps = new("--steps", "steps")
    {
        Description = "The number of steps; set one of --steps, --tokens and --seconds. A run that goes on keeps its duration if " + "none is given.",
    };
    readonly Flag<long?> tokens = new("--tokens", "tokens") { Description = "The number of training tokens." };
    readonly Option<double?> seconds = new("--seconds") { Description = "The training time in seconds." };
    readonly Option<long> seed = new("--seed")
    {
        Description = "The seed of the weights and of the order of the data.",
        DefaultValueFactory = _ => 1,
    };

    readonly Flag<long?> checkpointEvery = new("--checkpoint-every", nameof(TrainingOptions.CheckpointEvery))
    {
        Description = "The number of steps between checkpoints, each with a measurement of the held-out loss. 0 means only at the end. The default "
            + $"is {CheckpointSteps} on the CPU and {CheckpointStepsOnGpu} on a GPU.",
    };

    readonly Option<string> optimizer = new("--optimizer")
    {
        Description = "The optimizer: adamw or muon, each with its default constants.", DefaultValueFactory = _ => AdamW,
    };

    public TrainingFlags() => optimizer.AcceptOnlyFromAmong(AdamW, Muon);

    public IEnumerable<Option> All => [rate, context, batch, micro, steps, tokens, seconds, seed, optimizer, checkpointEvery];

    public long Seed(ParseResult parsed) => parsed.GetValue(seed);

    public TrainingOptions Read(ParseResult parsed, string folder, ModelPlace place) => new()
    {
        LearningRate = parsed.GetValue(rate), ContextLength = parsed.GetValue(context), BatchSize = parsed.GetValue(batch),
        MicroBatchSize = parsed.GetValue(micro),
        Duration = Duration(parsed.GetValue(steps), parsed.GetValue(tokens), parsed.GetValue(seconds)), Seed = parsed.GetValue(seed), Folder = folder,
        CheckpointEvery = parsed.GetValue(checkpointEvery) ?? (place.IsGpu ? CheckpointStepsOnGpu : CheckpointSteps),
        EvaluationTokens = 65_536,
        Optimizer = parsed.GetValue(optimizer) == Muon ? new MuonOptions() : new AdamWOptions(),
    };

    /// <summary>Compares the flags with the options of a stopped run, and returns the options with which it continues.</summary>
    /// <param name="parsed">The command line. Flags that are not given keep the value of the run.</param>
    /// <param name="saved">The options of the run.</param>
    /// <param name="say">Receives a line for each change.</param>
    /// <exception cref="ArgumentException">A flag contradicts what a run cannot change.</exception>
    public TrainingOptions Continue(ParseResult parsed, TrainingOptions saved, Action<string> say)
    {
        RequireSame(parsed, context, saved.ContextLength);
        RequireSame(parsed, batch, saved.BatchSize);
        RequireSame(parsed, seed, saved.Seed);
        RequireSame(parsed, optimizer, saved.Optimizer is MuonOptions ? Muon : AdamW);
        var changed = saved;
        if (IsGiven(parsed, rate) && parsed.GetValue(rate) is var peak && peak != saved.LearningRate) changed = changed with { LearningRate = peak };
        if (IsGiven(parsed, micro) && parsed.GetValue(micro) is var rows && rows != saved.MicroBatchSize)
            changed = changed with { MicroBatchSize = rows };
        if (parsed.GetValue(checkpointEvery) is { } interval) changed = changed with { CheckpointEvery = interval };
        if (IsGiven(parsed, steps) || IsGiven(parsed, tokens) || IsGiven(parsed, seconds))
        {
            var wanted = Duration(parsed.GetValue(steps), parsed.GetValue(tokens), parsed.GetValue(seconds));
            if (wanted != saved.Duration) changed = changed with { Duration = wanted };
        }
        void Say<T>(string name, T before, T after)
        {
            if (!Equals(before, after)) say($"{name} is {after} from here on; the run began with {before}");
        }
        Say("the peak learning rate", saved.LearningRate, changed.LearningRate);
        Say("the micro-batch", saved.MicroBatchSize, changed.MicroBatchSize);
        Say("the interval of checkpoints", saved.CheckpointEvery, changed.CheckpointEvery);
        Say("the duration", saved.Duration, changed.Duration);
        return changed;
    }

    /// <summary>Returns a line that says that a run has as many steps as its duration, or more. Returns null if it goes on.</summary>
    public static string? Surplus(Trainer trainer)
    {
        if (trainer.Options.TotalSteps is not { } total || trainer.Step < total) return null;
        return trainer.Step == total ? $"the run has its {total} steps already; nothing is trained"
            : $"the run has {trainer.Step} steps already, more than {total}; nothing is trained";
    }

    static bool IsGiven(ParseResult parsed, Option option) => parsed.GetResult(option) is { Implicit: false };

    static void RequireSame<T>(ParseResult parsed, Option<T> option, T saved)
    {
        if (IsGiven(parsed, option) && parsed.GetValue(option) is var given && !Equals(given, saved))
            throw Require.Refusal(option.Name, given, $"{saved}, with which the run in this folder began; leave it out to continue, or name another "
                + "--folder");
    }

    /// <summary>Returns the one duration that is given.</summary>
    /// <param name="steps">The number of steps.</param>
    /// <param name="tokens">The number of tokens.</param>
    /// <param name="seconds">The time in seconds.</param>
    /// <param name="dashes">What precedes the names in messages. The default is that of flags.</param>
    internal static Duration Duration(long? steps, long? tokens, double? seconds, string dashes = "--")
    {
        int given = (steps is null ? 0 : 1) + (tokens is null ? 0 : 1) + (seconds is null ? 0 : 1);
        if (given != 1)
            throw Require.Unfit(null, $"duration has {given} of {dashes}steps, {dashes}tokens and {dashes}seconds",
                dashes.Length > 0 ? "exactly one, such as --steps 1000" : "exactly one, such as steps: 1000");
        Require.InRange(seconds is null or (>= MinSeconds and <= MaxSeconds), $"{dashes}seconds", seconds,
            $"{MinSeconds} to {MaxSeconds}");
        return steps is { } count ? Training.Running.Duration.Steps(count) : tokens is { } number ? Training.Running.Duration.Tokens(number)
            : Training.Running.Duration.Time(TimeSpan.FromSeconds(seconds!.Value));
    }
}
