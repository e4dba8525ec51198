using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Reports;
using HybridArchitectures.Reports.Page;
using HybridArchitectures.Training.Logging;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Trains a recipe of the paper on the text of the study for a given time, with the vocabulary of the study. Schedule and context are those of the
/// recipe. Steps are smaller, and the peak rate falls with the root of their tokens.
/// <para>
/// 1. A pilot measures the speed, and the time becomes a number of steps (<see cref="RecipePilot"/>). The learning rate reaches 0 at the last one.
/// </para>
/// <para>2. A step is one pass over all rows, which the trainer captures as one CUDA graph on a GPU.</para>
/// <para>3. A run that was stopped or killed continues from its last checkpoint with the same number of steps.</para>
/// </summary>
/// <param name="data">The data.</param>
/// <param name="folder">The folder of the run. A stopped run in it continues.</param>
/// <param name="device">The device.</param>
sealed class RecipeRun(StudyData data, string folder, Device device)
{
    const int Evaluations = 20, Checkpoints = 10;

    readonly Stopwatch clock = Stopwatch.StartNew();

    /// <summary>Gets or sets the number of tokens of a step. The default is 131,072.</summary>
    public int TokensPerStep { get; init; } = 1 << 17;

    /// <summary>Gets or sets the number of rows of a forward pass. The default, 0, means all rows of a step.</summary>
    public int MicroRows { get; init; }

    /// <summary>Gets or sets the number of held-out tokens that are measured. The default is 524,288.</summary>
    public int HeldOutTokens { get; init; } = 1 << 19;

    /// <summary>Gets or sets the context length, or null for that of the recipe.</summary>
    public int? ContextLength { get; init; }

    /// <summary>Gets or sets the number of steps. The default, null, means as many as the time permits.</summary>
    public long? Steps { get; init; }

    /// <summary>Gets or sets the number of steps between reports. The default is 20.</summary>
    public int ReportEvery { get; init; } = 20;

    /// <summary>Gets or sets the receiver of a line per report and measurement. The default prints it.</summary>
    public Action<string> Print { get; init; } = Console.WriteLine;

    /// <summary>Gets the file of the curve.</summary>
    public string CurveFile => Path.Combine(folder, "curve.jsonl");

    /// <summary>Trains, and prints a line per report.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="time">The time of the whole run, with the pilot. It is not used if the run continues, or has a number of steps.</param>
    /// <param name="cancellation">Stops the run, which is saved.</param>
    /// <returns>True if the run is complete.</returns>
    public bool Run(Recipe recipe, TimeSpan time, CancellationToken cancellation)
    {
        var design = recipe.Design with { VocabularySize = data.Tokenizer.VocabularySize };
        Directory.CreateDirectory(folder);
        using var board = new TensorBoardLog(Path.Combine(folder, "events"));
        TrainingCallback[] callbacks = [board, new RecipeCurve(CurveFile, Print)];
        if (Open(recipe, design, time, callbacks, cancellation) is not { } trainer) return false;
        using var model = trainer.Model;
        using (trainer)
        {
            PrintSetting(recipe, design, trainer);
            var result = trainer.Run(cancellation: cancellation);
            Print(Capture(trainer));
            Print(Summary(result));
            Report(recipe, design, trainer.Options, result).Write(Path.Combine(folder, "report"));
            return result.Completed;
        }
    }

    // the trainer of the run that continues, or of a new one; null if its pilot was cancelled
    Trainer? Open(Recipe recipe, HybridDesign design, TimeSpan time, TrainingCallback[] callbacks, CancellationToken cancellation)
    {
        string run = Path.Combine(folder, "run");
        if (Trainer.HasCheckpoint(run)) return Trainer.Resume(run, data.Training, data.HeldOut, callbacks, device);
        long steps = Steps ?? 1;
        if (Steps is null)
        {
            using var tried = Create(design);
            if (RecipePilot.Run(tried, data, Options(recipe.Training, steps), cancellation) is not { } pilot) return null;
            steps = pilot.StepsIn(time - clock.Elapsed, Evaluations + 1);
            Print(FormattableString.Invariant($"pilot: a step takes {pilot.Step.TotalMilliseconds:f1} ms, a held-out measurement ")
                + FormattableString.Invariant($"{pilot.Evaluation.TotalSeconds:f1} s; {steps} steps"));
        }
        return new Trainer(Create(design), data.Training, Options(recipe.Training, steps), data.HeldOut, callbacks);
    }

    HybridLanguageModel Create(HybridDesign design) =>
        design.CreateModel(device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32, device, seed: 1);

    TrainingOptions Options(RecipeTraining recipe, long steps)
    {
        int context = ContextLength ?? recipe.ContextLength, rows = Math.Max(1, TokensPerStep / context);
        return new()
        {
            LearningRate = recipe.PeakLearningRate * Math.Sqrt((double)rows * context / recipe.BatchTokens), ContextLength = context,
            BatchSize = rows, MicroBatchSize = MicroRows, Duration = Duration.Steps(steps),
            Schedule = new TrapezoidSchedule { WarmUp = recipe.WarmUp, CoolDown = recipe.CoolDown },
            EvaluationTokens = Math.Min(HeldOutTokens, data.HeldOut.Count - 1), ReportEvery = ReportEvery,
            EvaluateEvery = Math.Max(1, steps / Evaluations), CheckpointEvery = Math.Max(1, steps / Checkpoints), KeepLast = 1, KeepBest = false,
            Folder = Path.Combine(folder, "run"), Seed = 1,
        };
    }

    void PrintSetting(Recipe recipe, HybridDesign design, Trainer trainer)
    {
        var (options, count) = (trainer.Options, design.CountParameters());
        Print(FormattableString.Invariant($"{recipe.Name}: {design.Pattern}, {count.Total / 1e6:f1} million parameters, ")
            + FormattableString.Invariant($"{count.NonEmbedding / 1e6:f1} without embedding; {data.Training.Count / 1e6:f1} million tokens of text"));
        string passes = options.MicroBatchSize is > 0 and var rows && rows < options.BatchSize ? $"passes of {rows}" : "one pass";
        Print(FormattableString.Invariant($"{options.Duration}, {trainer.Step} done; a step has {options.BatchSize} rows of ")
            + FormattableString.Invariant($"{options.ContextLength} tokens, {passes}; peak rate {options.LearningRate:g3}"));
    }

    static string Capture(Trainer trainer) => trainer.CapturedNodes > 0 ? $"a step was one CUDA graph of {trainer.CapturedNodes} nodes"
        : $"steps were not captured: {trainer.CaptureFailure ?? CapturedStep.Refusal(trainer.Model, trainer.Options, null) ?? "too few were made"}";

    RunReport Report(Recipe recipe, HybridDesign design, TrainingOptions options, TrainingResult result) => new()
    {
        Title = recipe.Name, Unit = "nats per token",
        Description = "A recipe of arXiv 2510.04800 on documentation and books of Debian, with a vocabulary of 8,192.",
        Facts =
        [
            new("Text", FormattableString.Invariant($"{data.Training.Count:N0} tokens, read {(double)result.Tokens / data.Training.Count:f1} times")),
            new("Step", FormattableString.Invariant($"{options.BatchSize} rows of {options.ContextLength} tokens")),
            new("Peak rate", options.LearningRate.ToString("g3", CultureInfo.InvariantCulture)),
        ],
        Runs = [RunSummary.FromTraining(recipe.Name, design, result, LossUnit.NatsPerToken)],
    };

    // medians over the whole curve, also over the lines of earlier calls
    string Summary(TrainingResult result)
    {
        var reports = RecipeCurve.Read(CurveFile).Where(point => point.TokensPerSecond is not null).ToArray();
        string text = FormattableString.Invariant($"{result.Steps} steps, {result.Tokens / 1e6:f1} million tokens in ")
            + FormattableString.Invariant($"{result.Elapsed.TotalSeconds:f0} s");
        if (reports.Length > 0)
            text += FormattableString.Invariant($"; median {Median(reports.Select(point => point.TokensPerSecond)):N0} tokens/s, ")
                + (Median(reports.Select(point => point.ModelFlopUtilisation)) is { } share
                    ? FormattableString.Invariant($"MFU {100 * share:f1} %, ") : "")
                + $"peak memory {Units.Bytes(reports.Max(point => point.MemoryBytes)!.Value)}";
        if (result.Final is { } final) text += FormattableString.Invariant($"; held-out loss {final.Loss:f4} nats per token");
        return text + (result.Completed ? "" : "; not complete, the same command continues");
    }

    static double? Median(IEnumerable<double?> values)
    {
        var sorted = values.OfType<double>().Order().ToArray();
        return sorted.Length == 0 ? null : sorted[sorted.Length / 2];
    }
}
