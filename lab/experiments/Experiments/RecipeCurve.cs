using System.Text.Json;
using HybridArchitectures.Cost;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Writes the curve of a run, one line of JSON per report and per measurement, as it comes. A run that continues from a checkpoint first drops the
/// lines after it, so the file is that of a run without an interruption.
/// </summary>
/// <param name="file">The file.</param>
/// <param name="print">Receives a line of text for each line of the file.</param>
sealed class RecipeCurve(string file, Action<string> print) : TrainingCallback
{
    /// <summary>Reads the lines of a file; none if it does not exist. A last line that was cut off is omitted.</summary>
    public static IReadOnlyList<RecipePoint> Read(string file) => !File.Exists(file) ? []
        : [.. File.ReadLines(file).Where(line => line.EndsWith('}'))
            .Select(line => JsonSerializer.Deserialize(line, RecipeJsonContext.Default.RecipePoint)!)];

    /// <inheritdoc/>
    public override void OnStart(Trainer trainer)
    {
        var kept = Read(file).Where(point => point.Step <= trainer.Step && trainer.Step > 0).Select(Line).ToArray();
        AtomicWrite.File(file, temporary => File.WriteAllLines(temporary, kept));
    }

    /// <inheritdoc/>
    public override void OnProgress(Trainer trainer, TrainingProgress progress)
    {
        Append(new()
        {
            Step = progress.Step, Tokens = progress.Tokens, Seconds = progress.Elapsed.TotalSeconds, Loss = progress.Loss,
            LearningRate = progress.LearningRate, GradientNorm = progress.GradientNorm, TokensPerSecond = progress.TokensPerSecond,
            ModelFlopUtilisation = progress.ModelFlopUtilisation, MemoryBytes = progress.MemoryBytes,
        });
        string share = progress.ModelFlopUtilisation is { } used ? FormattableString.Invariant($", MFU {100 * used:f1} %") : "";
        print($"{progress}{share}, {Units.Bytes(progress.MemoryBytes)}");
    }

    /// <inheritdoc/>
    public override void OnEvaluation(Trainer trainer, EvaluationPoint evaluation)
    {
        var result = evaluation.Result;
        Append(new()
        {
            Step = evaluation.Step, Tokens = evaluation.Tokens, Seconds = evaluation.Elapsed.TotalSeconds, HeldOutLoss = result.Loss,
            HeldOutError = result.StandardError, HeldOutBitsPerByte = result.BitsPerByte,
        });
        print(FormattableString.Invariant($"held-out loss after step {evaluation.Step}: {result}"));
    }

    void Append(RecipePoint point) => File.AppendAllText(file, Line(point) + "\n");

    static string Line(RecipePoint point) => JsonSerializer.Serialize(point, RecipeJsonContext.Default.RecipePoint);
}
