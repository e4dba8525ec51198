using System.CommandLine;
using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Cost;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid train</c>: trains a design, or continues a run.</summary>
static class TrainCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design") { Description = DesignArgument.Description };
        var data = new Option<string>("--data") { Description = TextData.Description, Required = true };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "The file or folder of a tokenizer. The default is bytes." };
        var folder = new Option<string>("--folder") { Description = "The folder of the run. A stopped run in it continues.", Required = true };
        var count = new Option<int>("--ranks")
        {
            Description = "Prints the command that trains on N processes, and ends.",
            DefaultValueFactory = _ => 1,
        };
        var strategy = new Option<DataParallelStrategy>("--strategy")
        {
            Description = "What is divided over the processes: " + $"{string.Join(", ", Enum.GetNames<DataParallelStrategy>())}.",
        };
        var (flags, device) = (new TrainingFlags(), new DeviceFlag());
        var command = GuardedCommand.Create("train", "Trains a design on text. Ctrl-C saves and stops, and the same command continues.",
            "MMTM:width=128,heads=4,state=16,feed=256 --data documentation --folder runs/first --steps 300");
        command.Add(design);
        foreach (var option in (Option[])[data, tokenizer, folder, count, strategy, .. flags.All, device.Option]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            int wanted = Require.AtLeast(parsed.GetValue(count), 1, "--ranks");
            var place = device.Read(parsed);
            using var ranks = Collectives.Connect(new() { Device = place.Device });
            if (wanted > 1 && ranks.Size == 1)
            {
                Terminal.Line(LaunchLine(wanted, parsed.Tokens.Select(token => token.Value)));
                return ExitCode.Success;
            }
            using var text = TextData.Load(parsed.GetValue(data)!, parsed.GetValue(tokenizer));
            var parallel = new DataParallel(ranks) { Strategy = parsed.GetValue(strategy) };
            return Train(parsed, text, new(parsed.GetValue(design)!, parsed.GetValue(folder)!, flags, parallel, place));
        });
        return command;
    }

    static int Train(ParseResult parsed, TextData text, Request request)
    {
        using var signals = new StopSignals();
        using var trainer = Trainer.HasCheckpoint(request.Folder) ? Resume(parsed, text, request) : Start(parsed, text, request);
        using var model = trainer.Model;
        request.Say($"training on {ModelPlace.Describe(model.Device, model.ComputeType)}");
        if (TrainingFlags.Surplus(trainer) is { } surplus) request.Say(surplus);
        var result = request.IsFirst ? Terminal.Progress(report => trainer.Run(new Reporter(report), signals.Token))
            : trainer.Run(cancellation: signals.Token);
        if (!result.Completed)
        {
            request.Say($"stopped after step {result.Steps}, saved in {result.Checkpoint}; the same command continues");
            return ExitCode.Interrupted;
        }
        string bits = result.Final?.BitsPerByte is { } value ? FormattableString.Invariant($", {value:0.0000} bits per byte") : "";
        request.Say($"{result.Steps} steps, {result.Tokens} tokens in {result.Elapsed.TotalSeconds:0} s; held-out loss "
            + $"{result.Final?.Loss:0.0000} nats per token{bits}; {result.Checkpoint}");
        return ExitCode.Success;
    }

    /// <summary>Contains what is trained, where it is saved, and by which ranks.</summary>
    sealed record Request(string Design, string Folder, TrainingFlags Flags, DataParallel Parallel, ModelPlace Place)
    {
        public bool IsFirst => Parallel.Collectives.IsFirst;

        public void Say(string line)
        {
            if (IsFirst) Terminal.Line(line);
        }
    }

    /// <summary>Returns the command that starts this program on several processes with the same arguments.</summary>
    internal static string LaunchLine(int ranks, IEnumerable<string> arguments)
    {
        var kept = new List<string>();
        using var each = arguments.GetEnumerator();
        while (each.MoveNext())
        {
            if (each.Current == "--ranks") each.MoveNext();
            else if (!each.Current.StartsWith("--ranks=", StringComparison.Ordinal)) kept.Add(each.Current);
        }
        return string.Create(CultureInfo.InvariantCulture, $"mpirun -n {ranks} hybrid {string.Join(' ', kept.Select(Quoted))}");
    }

    static string Quoted(string argument) =>
        argument.Length > 0 && argument.All(letter => char.IsAsciiLetterOrDigit(letter) || "-_=,.:/@+%".Contains(letter, StringComparison.Ordinal))
            ? argument : $"'{argument.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    static Trainer Start(ParseResult parsed, TextData text, Request request)
    {
        var options = request.Flags.Read(parsed, request.Folder, request.Place);
        var device = request.Parallel.Collectives.Device;
        var model = DesignArgument.Parse(request.Design).CreateModel(request.Place.Compute, device, request.Flags.Seed(parsed));
        try
        {
            return new Trainer(model, text.Training, options, text.HeldOut, parallel: request.Parallel);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    // the run's design decides; another one on the command line would be ignored
    static Trainer Resume(ParseResult parsed, TextData text, Request request)
    {
        var (run, design) = (request.Folder, request.Design);
        var saved = Checkpoint.LoadDesign(ModelFolder.Resolve(run));
        // the name does not matter: a file and a pattern can describe the same design
        var differences = saved.Diff(DesignArgument.Parse(design) with { Name = saved.Name });
        if (differences.Count > 0)
            throw Require.Unfit(nameof(design), $"design is '{design}', which differs from that of the run in '{run}': "
                + $"{string.Join("; ", differences.Take(3))}{(differences.Count > 3 ? $"; and {differences.Count - 3} more" : "")}",
                "the design of the run, or another --folder");
        request.Say($"going on with the run in {run}");
        return Trainer.Resume(run, text.Training, text.HeldOut, device: request.Parallel.Collectives.Device,
            change: options => request.Flags.Continue(parsed, options, request.Say), parallel: request.Parallel);
    }

    sealed class Reporter(Action<string, double, string> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report("training", value.Done,
            $"step {value.Step}, loss {value.Loss:0.000}, {value.TokensPerSecond:0} tokens/s, {Utilisation(value)}, "
                + $"{Units.Bytes(value.MemoryBytes)}{Units.TimeLeft(value.TimeLeft)}");

        static string Utilisation(TrainingProgress value) => value.ModelFlopUtilisation is { } share
            ? FormattableString.Invariant($"{share:0 %} MFU") : $"{Units.Flops(value.ModelFlopsPerSecond)}/s";
    }
}
