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
/// </summary>
/// <param name="data">The data.</param>
/// <param name="folder">The folder of the run. A stopped run in it continues.</param>
/// <param name="device">The device.</param>
sealed class RecipeRun(StudyData data, string folder, Device device)
{
    /// <summary>Gets or sets the number of tokens of a step.</summary>
    public int TokensPerStep { get; init; } = 1 << 18;

    /// <summary>Gets or sets the number of rows of a forward pass.</summary>
    public int MicroRows { get; init; } = 8;

    /// <summary>Gets or sets the number of held-out tokens that are measured.</summary>
    public int HeldOutTokens { get; init; } = 1 << 19;

    /// <summary>Gets or sets the context length, or null for that of the recipe.</summary>
    public int? ContextLength { get; init; }

    /// <summary>Trains, and prints a line per report.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="time">The training time.</param>
    /// <param name="cancellation">Stops the run, which is saved.</param>
    /// <returns>True if the run is complete.</returns>
    public bool Run(Recipe recipe, TimeSpan time, CancellationToken cancellation)
    {
        var design = recipe.Design with { VocabularySize = data.Tokenizer.VocabularySize };
        var options = Options(recipe.Training, time);
        var count = design.CountParameters();
        Console.WriteLine(FormattableString.Invariant($"{recipe.Name}: {design.Pattern}, {count.Total / 1e6:f1} million parameters, ")
            + FormattableString.Invariant($"{count.NonEmbedding / 1e6:f1} without embedding; {data.Training.Count / 1e6:f1} million tokens of text"));
        Console.WriteLine(FormattableString.Invariant($"steps of {options.BatchSize} rows of {options.ContextLength} tokens, ")
            + FormattableString.Invariant($"peak rate {options.LearningRate:g3}"));
        bool begun = Trainer.HasCheckpoint(options.Folder!);
        using var board = new TensorBoardLog(Path.Combine(folder, "events"));
        using var fresh = begun ? null
            : design.CreateModel(device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32, device, seed: 1);
        using var trainer = begun ? Trainer.Resume(options.Folder!, data.Training, data.HeldOut, [board], device)
            : new Trainer(fresh!, data.Training, options, data.HeldOut, [board]);
        using var own = begun ? trainer.Model : null;
        var result = trainer.Run(new Lines(), cancellation);
        if (!result.Completed) return false;
        Console.WriteLine(Summary(result));
        Report(recipe, design, options, result).Write(Path.Combine(folder, "report"));
        return true;
    }

    TrainingOptions Options(RecipeTraining recipe, TimeSpan time)
    {
        int context = ContextLength ?? recipe.ContextLength, rows = Math.Max(1, TokensPerStep / context);
        return new()
        {
            LearningRate = recipe.PeakLearningRate * Math.Sqrt((double)rows * context / recipe.BatchTokens), ContextLength = context,
            BatchSize = rows, MicroBatchSize = Math.Min(rows, MicroRows), Duration = Duration.Time(time),
            Schedule = new TrapezoidSchedule { WarmUp = recipe.WarmUp, CoolDown = recipe.CoolDown },
            EvaluationTokens = Math.Min(HeldOutTokens, data.HeldOut.Count - 1), ReportEvery = 20, EvaluateEvery = 100,
            CheckpointEvery = 500, KeepLast = 1, Folder = Path.Combine(folder, "run"), Seed = 1,
        };
    }

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

    static string Summary(TrainingResult result) => string.Create(CultureInfo.InvariantCulture,
        $"{result.Steps} steps, {result.Tokens / 1e6:f1} million tokens in {result.Elapsed.TotalSeconds:f0} s; ")
        + (result.Final is { } final ? FormattableString.Invariant($"held-out loss {final.Loss:f4} nats per token; ") : "") + result.Checkpoint;

    sealed class Lines : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value)
        {
            string share = value.ModelFlopUtilisation is { } used ? FormattableString.Invariant($", MFU {100 * used:f1} %") : "";
            Console.WriteLine($"{value}{share}, {Units.Bytes(value.MemoryBytes)}");
        }
    }
}
