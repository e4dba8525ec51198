using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Evaluation.Inside;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid eval</c>, which measures a checkpoint.</summary>
static class EvalCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("folder") { Description = "A checkpoint of this library or of Hugging Face, or the folder of a run." };
        var tasks = new Flag<string[]>("--task", "task")
        {
            Description = $"The tasks, one or more: {string.Join(", ", TaskArgument.Names)}. A benchmark takes its file after '=', as in "
                + $"piqa=valid.jsonl.", Required = true,
        };
        var data = new Option<string?>("--data") { Description = $"Text for held-out, position, document and needle. {TextData.Description}" };
        var tokenizer = Tokenizer();
        var context = new Flag<int>("--context", nameof(TaskSettings.ContextLength))
        {
            Description = "The number of tokens per window.", DefaultValueFactory = _ => 1024,
        };
        var lengths = new Flag<int[]>("--lengths", nameof(LongContextOptions.Lengths), nameof(InsideOptions.Length), "maxTokens")
        {
            Description = "The lengths of prompts of needle, passkey and ruler, in tokens.", DefaultValueFactory = _ => [512, 1024],
            AllowMultipleArgumentsPerToken = true,
        };
        var trials = new Flag<int>("--trials", nameof(LongContextOptions.Trials))
        {
            Description = "The number of prompts per length and depth.", DefaultValueFactory = _ => 5,
        };
        var checkpoints = new Option<bool>("--checkpoints") { Description = "Measures 'inside' at every checkpoint of a run." };
        var device = new DeviceFlag();
        var json = new Option<string?>("--json") { Description = "The JSON file to write the results to." };
        var command = GuardedCommand.Create("eval", "Measures a checkpoint. Every number has a standard error.",
            "runs/first --task held-out --task piqa=valid.jsonl --data documentation");
        command.Add(folder);
        foreach (var option in (Option[])[tasks, data, tokenizer, context, lengths, trials, checkpoints, json, device.Option]) command.Add(option);
        command.SetGuardedAction(parsed => Run(new(parsed.GetValue(folder)!, parsed.GetValue(tasks)!, parsed.GetValue(data),
            parsed.GetValue(tokenizer), parsed.GetValue(context), parsed.GetValue(lengths)!, parsed.GetValue(trials), parsed.GetValue(checkpoints),
            parsed.GetValue(json), device.Read(parsed))));
        return command;
    }

    /// <summary>Contains what is measured, and how.</summary>
    sealed record Request(string Folder, string[] Tasks, string? Data, string? Tokenizer, int Context, int[] Lengths, int Trials, bool Checkpoints,
        string? Json, ModelPlace Place);

    static int Run(Request request)
    {
        // before hours of measurements
        if (request.Json is { } target) TaskResultFile.RequireFolder(target);
        using var loaded = LoadedModel.Open(request.Folder, request.Tokenizer, request.Place);
        using var text = request.Data is { } path ? TextData.Load(path, request.Tokenizer) : null;
        var settings = new TaskSettings(request.Context, request.Lengths, request.Trials, text?.HeldOut, request.Data, () => loaded.Tokenizer);
        TaskResult[] results = request.Checkpoints ? [History(request.Folder, request.Tasks, settings, request.Place)]
            : [.. Tasks(request.Tasks, settings).Select(task => task.Run(loaded.Model))];
        foreach (var result in results) Write(result);
        if (request.Json is { } file) TaskResultFile.Write(file, results);
        return ExitCode.Success;
    }

    // all names are read before the first task runs
    static EvaluationTask[] Tasks(string[] names, TaskSettings settings) => [.. names.SelectMany(name => TaskArgument.Parse(name, settings))];

    static Option<string?> Tokenizer() => new("--tokenizer")
    {
        Description = "The file or folder of a tokenizer. The default is the tokenizer of the folder, or bytes if it has none.",
    };

    static TaskResult History(string folder, string[] tasks, TaskSettings settings, ModelPlace place)
    {
        if (tasks is not ["inside"])
            throw Require.Unfit(null, $"--task is {string.Join(", ", tasks)} with --checkpoints", "--task inside alone");
        return TaskArgument.Inside(settings).MeasureRun(folder, place.Device).ToTaskResult();
    }

    static void Write(TaskResult result)
    {
        Terminal.Line($"{result.Task}: {result.Protocol}");
        Terminal.Table(["metric", "value", "standard error", "unit"], result.Metrics.Select(metric => (IReadOnlyList<string>)
            [metric.Name, FormattableString.Invariant($"{metric.Value:0.####}"), metric.StandardError is { } error
                ? FormattableString.Invariant($"{error:0.####}") : "", metric.Unit]));
        foreach (var map in result.HeatMaps) Terminal.Line($"{map}");
        foreach (var curve in result.Curves)
        {
            Terminal.Line(curve.Title);
            Terminal.Table([curve.XTitle, curve.YTitle], curve.Points.Select(point => (IReadOnlyList<string>)
                [FormattableString.Invariant($"{point.X:0.####}"), FormattableString.Invariant($"{point.Y:0.####}")]));
        }
    }
}
