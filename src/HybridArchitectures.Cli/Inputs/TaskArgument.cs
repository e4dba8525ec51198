using HybridArchitectures.Evaluation.Benchmarks;
using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.Inside;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Recall;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Creates tasks from names such as <c>held-out</c>, <c>mad</c> (six tasks) or <c>hellaswag=validation.jsonl</c>.</summary>
static class TaskArgument
{
    static readonly string[] Plain = ["held-out", "position", "document", "needle", "passkey", "ruler", "recall", "mad", "induction", "phonebook",
        "parity", "s3", "s5", "inference", "inside"];

    /// <summary>Gets the names of all tasks.</summary>
    public static IEnumerable<string> Names => [.. Plain, "lambada=FILE", .. ChoiceFormats.All.Select(format => $"{format.Name}=FILE")];

    /// <summary>Creates the tasks of a name.</summary>
    public static IReadOnlyList<EvaluationTask> Parse(string text, TaskSettings settings) => text switch
    {
        "mad" => [.. MadTasks.All.Select(task => task.ToEvaluationTask())],
        "ruler" => [.. RulerTask.All.Select(task => LongContext(task, settings))],
        _ => [Single(text, settings)],
    };

    static EvaluationTask Single(string text, TaskSettings settings)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        if (equals > 0) return Benchmark(text[..equals], text[(equals + 1)..], settings);
        TokenDataset HeldOut() => settings.HeldOut ?? throw Require.Unfit("task", $"task is '{text}', without text", "a text, named with --data");
        return text switch
        {
            "held-out" => new HeldOutTask(HeldOut(), settings.ContextLength, tokens: 65_536),
            "position" => new PositionLossTask(HeldOut(), settings.ContextLength, Math.Min(16, settings.ContextLength), maxWindows: 64),
            "document" => new DocumentLossTask(HeldOut(), settings.ContextLength, maxDocuments: 100),
            "needle" => LongContext(new Needle(Haystack(settings)), settings),
            "passkey" => LongContext(new Passkey(), settings),
            "recall" => new MultiQueryRecall().ToEvaluationTask(),
            "induction" => new InductionHeads().ToEvaluationTask(),
            "phonebook" => new Phonebook().ToEvaluationTask(),
            "parity" => new StateTracking().ToEvaluationTask(),
            "s3" => new StateTracking { Group = TrackedGroup.S3 }.ToEvaluationTask(),
            "s5" => new StateTracking { Group = TrackedGroup.S5 }.ToEvaluationTask(),
            "inference" => Inference(settings.ContextLength),
            "inside" => Inside(settings),
            _ => throw Require.Unfit("task", $"task is '{text}'", $"one of {string.Join(", ", Names)}"),
        };
    }

    static InferenceCostTask Inference(int contextLength)
    {
        const int continued = 32, maximum = InferenceCostOptions.MaxLength - continued;
        Require.InRange(contextLength is >= 1 and <= maximum, nameof(contextLength), contextLength, $"1 to {maximum} for the task 'inference'");
        return new(new() { BatchSizes = [1], PromptLength = contextLength, TotalLengths = [contextLength + continued] });
    }

    /// <summary>Creates the task that looks inside: a needle in the text, or a passkey without a text.</summary>
    public static InsideTask Inside(TaskSettings settings)
    {
        LongContextTask prompts = settings.Haystack is { } path && File.Exists(path) ? new Needle(Text(path)) : new Passkey();
        return new InsideTask(prompts, settings.Tokenizer(), new InsideOptions { Length = settings.Lengths.Max(), Trials = settings.Trials });
    }

    static LongContextEvaluation LongContext(LongContextTask task, TaskSettings settings) =>
        new(task, settings.Tokenizer(), new LongContextOptions { Lengths = settings.Lengths, Depths = [0, 0.25, 0.5, 0.75, 1],
            Trials = settings.Trials });

    static string Text(string path) => BoundedFile.ReadText(path, BoundedFile.MaxTextBytes);

    static string Haystack(TaskSettings settings) => settings.Haystack is { } path && File.Exists(path) ? Text(path)
        : throw Require.Unfit("task", "task is 'needle', without a text file for the haystack", "a file, named with --data");

    static EvaluationTask Benchmark(string name, string file, TaskSettings settings)
    {
        if (name == "lambada") return new CompletionTask("lambada", CompletionItem.ReadLambada(file), settings.Tokenizer());
        var format = ChoiceFormats.All.FirstOrDefault(format => format.Name == name)
            ?? throw Require.Unfit("task", $"task is '{name}={file}'",
                $"one of {string.Join(", ", Names.Where(known => known.Contains('=', StringComparison.Ordinal)))}");
        return new ChoiceTask(format, format.Read(file), settings.Tokenizer());
    }
}
