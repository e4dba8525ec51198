using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using TorchSharp;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>
/// Looks inside a model while it reads prompts with a needle, followed by the answer (<see cref="ModelInspection"/>). The needle is the answer inside
/// the haystack, and the queries are the positions that predict the tokens of the answer.
/// </summary>
public sealed class InsideTask : EvaluationTask
{
    readonly LongContextTask task;
    readonly Tokenizer tokenizer;
    readonly InsideOptions options;

    /// <summary>Creates the task.</summary>
    /// <param name="task">The prompts: <see cref="Needle"/>, <see cref="Passkey"/> or a <see cref="RulerTask"/> with one answer.</param>
    /// <param name="tokenizer">The tokenizer of the model.</param>
    /// <param name="options">The settings. The default, null, means the defaults.</param>
    public InsideTask(LongContextTask task, Tokenizer tokenizer, InsideOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(task);
        ArgumentNullException.ThrowIfNull(tokenizer);
        this.options = options ?? new();
        this.options.Check();
        (this.task, this.tokenizer) = (task, tokenizer);
    }

    /// <inheritdoc/>
    public override string Name => "inside";

    /// <inheritdoc/>
    public override string? Settings => $"{task.Source}; {Protocol} {options.Inspection.Settings}";

    /// <summary>Creates the prompts as token ids with the positions of the needle. They depend on the settings and the tokenizer only.</summary>
    /// <exception cref="ArgumentException">The prompts of the task have several answers, or do not fit.</exception>
    public IReadOnlyList<InspectionPrompt> CreatePrompts() =>
        [.. options.Depths.SelectMany((depth, index) => Enumerable.Range(0, options.Trials).Select(trial =>
            Create(depth, new SeededRandom(options.Seed, ((long)index << 32) + trial))))];

    InspectionPrompt Create(double depth, SeededRandom random)
    {
        bool begins = tokenizer.BeginOfText is not null;
        var sample = task.Create(text => tokenizer.Encode(text, begins).Length, options.Length, depth, random);
        if (sample.Answers.Count != 1)
            throw Require.Unfit(nameof(task), $"task is {task.Name}, whose prompts have {sample.Answers.Count} answers",
                "one answer, as of needle, passkey or ruler niah_single_1");
        string answer = sample.Answers[0];
        int answerStart = sample.Prompt.IndexOf(answer, StringComparison.Ordinal), asked = Runes(sample.Prompt);
        var text = tokenizer.EncodeWithSpans($"{sample.Prompt} {answer}", begins);
        int[] needle = [.. Enumerable.Range(0, text.Ids.Count).Where(
            i => Overlaps(text.Spans[i], Runes(sample.Prompt[..answerStart]), Runes(answer)))];
        int[] targets = [.. Enumerable.Range(1, text.Ids.Count - 1).Where(i => Overlaps(text.Spans[i], asked + 1, Runes(answer)))];
        int last = targets[^1] - 1;
        return new InspectionPrompt([.. text.Ids.Take(last + 1)], needle[0], needle[^1] - needle[0] + 1, last - (targets[0] - 1) + 1);
    }

    static int Runes(string text) => text.EnumerateRunes().Count();

    static bool Overlaps(TextSpan span, int start, int length) => span.End > span.Start && span.Start < start + length && span.End > start;

    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public InspectionResult Measure(HybridLanguageModel model, CancellationToken cancellation = default) =>
        ModelInspection.Measure(model, CreatePrompts(), options.Inspection, cancellation);

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var result = Measure(model, cancellation);
        string uniform = result.UniformMass is { } mass
            ? string.Create(CultureInfo.InvariantCulture, $" Equal attention would have a mass of {mass:0.####}.") : "";
        return result.ToTaskResult(Name, Protocol + uniform, options.Inspection.RetrievalMass);
    }

    string Protocol
    {
        get
        {
            string depths = string.Join(", ", options.Depths.Select(depth => depth.ToString(CultureInfo.InvariantCulture)));
            return string.Create(CultureInfo.InvariantCulture, $"Prompts of {task.Name} with up to {options.Length} tokens, depths {depths}, ")
                + string.Create(CultureInfo.InvariantCulture, $"{options.Trials} trials, seed {options.Seed}; ")
                + string.Create(CultureInfo.InvariantCulture, $"memory to a share of {options.Inspection.MemoryThreshold:0.###}.");
        }
    }

    /// <summary>Measures every checkpoint that a training run has kept (see <see cref="TrainingOptions.KeepEvery"/>).</summary>
    /// <param name="folder">The folder of the run.</param>
    /// <param name="device">The device of the models. The default, null, means the CPU.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="DirectoryNotFoundException">The folder has no checkpoint.</exception>
    public InspectionHistory MeasureRun(string folder, torch.Device? device = null, CancellationToken cancellation = default)
    {
        Require.NotEmpty(folder);
        string[] checkpoints = Directory.Exists(folder) ? Directory.GetDirectories(folder, "step-*") : [];
        if (checkpoints.Length == 0)
            throw new DirectoryNotFoundException($"folder is '{folder}'; expected the folder of a training run with checkpoints.");
        var prompts = CreatePrompts();
        var points = new List<InspectionPoint>();
        foreach (string checkpoint in checkpoints.Order(StringComparer.Ordinal))
        {
            using var model = Checkpoint.Load(checkpoint, device: device);
            long step = long.Parse(Path.GetFileName(checkpoint)["step-".Length..], CultureInfo.InvariantCulture);
            points.Add(new(step, ModelInspection.Measure(model, prompts, options.Inspection, cancellation)));
        }
        return new InspectionHistory(Protocol, points);
    }
}
