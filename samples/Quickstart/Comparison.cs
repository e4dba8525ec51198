using System.Diagnostics;
using System.Globalization;
using System.Text;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Reports;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training;
using Spectre.Console;

namespace Quickstart;

/// <summary>The whole run: text, baselines, three trainings, a checkpoint read back, text written by it, and the report.</summary>
sealed class Comparison
{
    const int Context = 256, Rows = 4, EvaluateEvery = 100;
    const double HeldOutShare = 0.03;                       // of the text; all of it is measured
    const double TrainingShare = 0.88;                      // of the time asked for; the rest goes to measuring, writing and the report

    static readonly TrainingOptions Recipe = new()
    {
        LearningRate = 6e-3,
        Context = Context,
        BatchRows = Rows,
        Schedule = new TrapezoidSchedule { WarmUp = 0.05, CoolDown = 0.4 },
        ReportEvery = 5,
        EvaluationTokens = 8192,
    };

    readonly RunSettings settings;
    readonly string folder;
    readonly Stopwatch clock = Stopwatch.StartNew();

    Comparison(RunSettings settings, string folder) => (this.settings, this.folder) = (settings, folder);

    public static Comparison Create(RunSettings settings, string? folder)
    {
        settings.Check();
        if (folder is not null && Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
            throw new ArgumentException($"--out is '{folder}', which is not empty; expected a new folder, or --resume to go on");
        return new Comparison(settings, folder ?? NewFolder());
    }

    static string NewFolder()
    {
        var name = Path.Combine("runs", $"quickstart-{DateTime.Now.ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture)}");
        return Enumerable.Range(1, int.MaxValue).Select(number => number == 1 ? name : $"{name}-{number}").First(candidate => !Directory.Exists(candidate));
    }

    public static Comparison Open(string folder) => new(RunSettings.Load(folder), folder);

    public async Task<int> Execute(CancellationToken cancellation)
    {
        var corpus = settings.Data is { } path ? TextCorpus.FromPath(path, HeldOutShare) : DocumentationCorpus.Load(HeldOutShare);
        using var training = TokenDataset.FromBytes(corpus.Training);
        using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
        foreach (var (name, data) in new[] { ("training", training), ("held-out", heldOut) })
            if (data.Count <= 4 * Context) throw new ArgumentException($"the {name} text of {corpus.Source} has {data.Count} bytes; expected more than {4 * Context}");
        Directory.CreateDirectory(folder);
        settings.Save(folder);
        AnsiConsole.MarkupLineInterpolated($"[bold]Text[/]         {corpus.Source}");
        AnsiConsole.MarkupLineInterpolated($"             {Megabytes(corpus.TrainingBytes)} to train on, {Megabytes(corpus.HeldOutBytes)} held out");
        var baselines = Baselines(corpus);
        foreach (var arm in Arm.All)
            AnsiConsole.MarkupLineInterpolated($"[bold]{arm.Name,-12}[/] {arm.Design.Pattern}, {arm.Design.CountParameters().Total:N0} parameters");

        var results = new List<ArmResult>();
        foreach (var arm in Arm.All)
        {
            // the first model has its share of the time; the others are trained on as many tokens
            Func<TrainingOptions> options = results.Count == 0 ? () => Recipe with { Budget = FirstShare(training) } : () => Recipe with { Tokens = results[0].Training.Tokens };
            var result = Train(arm, training, heldOut, options, cancellation);
            if (!result.Training.Completed)
            {
                AnsiConsole.MarkupLineInterpolated($"[yellow]Stopped; everything so far is saved.[/] To go on:");
                AnsiConsole.MarkupLineInterpolated($"  dotnet run -c Release --project samples/Quickstart -- --resume {folder}");
                return 130;
            }
            results.Add(result);
        }

        Show(results, baselines);
        var samples = await Write(results[0], cancellation);
        var report = Report(corpus, results, baselines, samples);
        report.Write(Path.Combine(folder, "report"));
        AnsiConsole.MarkupLineInterpolated($"[bold]Report[/]    {Path.Combine(folder, "report", "index.html")}   ({clock.Elapsed.TotalSeconds:f0} s in all)");
        return 0;
    }

    static IReadOnlyList<Baseline> Baselines(TextCorpus corpus)
    {
        static byte[] Bytes(IReadOnlyList<TextDocument> documents) => Encoding.UTF8.GetBytes(string.Concat(documents.Select(document => document.Text)));
        byte[] training = Bytes(corpus.Training), heldOut = Bytes(corpus.HeldOut);
        return [.. new[] { 0, 2 }.Select(order => new Baseline($"order-{order} byte model", new ByteModel(order, training).BitsPerByte(heldOut)))];
    }

    /// <summary>The first model's share of the time, from a few steps of each.</summary>
    TimeSpan FirstShare(TokenDataset training)
    {
        var seconds = new List<double>();
        AnsiConsole.Status().Start("Measuring this machine's speed", _ =>
        {
            foreach (var arm in Arm.All)
            {
                using var model = arm.Design.CreateModel(seed: settings.Seed);
                using (var warmUp = new Trainer(model, training, Recipe with { Steps = 1 })) warmUp.Run();
                var watch = Stopwatch.StartNew();
                using var trainer = new Trainer(model, training, Recipe with { Steps = 4 });
                trainer.Run();
                seconds.Add(watch.Elapsed.TotalSeconds);
            }
        });
        double asked = settings.Minutes * 60, left = Math.Max(asked / 2, asked * TrainingShare - clock.Elapsed.TotalSeconds);
        return TimeSpan.FromSeconds(left * seconds[0] / seconds.Sum());
    }

    ArmResult Train(Arm arm, TokenDataset training, TokenDataset heldOut, Func<TrainingOptions> options, CancellationToken cancellation)
    {
        var armFolder = Path.Combine(folder, arm.Folder);
        bool begun = Trainer.HasCheckpoint(armFolder);
        using var fresh = begun ? null : arm.Design.CreateModel(seed: settings.Seed);
        using var trainer = begun ? Trainer.Resume(armFolder, training, heldOut) : new Trainer(fresh!, training, options() with { Seed = settings.Seed, Folder = armFolder, EvaluateEvery = EvaluateEvery }, heldOut);
        using var own = begun ? trainer.Model : null;
        var result = ProgressScreen.Show(arm.Name, progress => trainer.Run(progress, cancellation));
        if (!result.Completed) return new ArmResult(arm, result, null);
        return new ArmResult(arm, result, Evaluator.Evaluate(trainer.Model, heldOut, Context, rows: 16));
    }

    static void Show(IReadOnlyList<ArmResult> results, IReadOnlyList<Baseline> baselines)
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumn("held-out text").AddColumn(new TableColumn("bits per byte").RightAligned())
            .AddColumn(new TableColumn("parameters").RightAligned()).AddColumn(new TableColumn("trained on").RightAligned()).AddColumn(new TableColumn("bytes/s").RightAligned());
        foreach (var baseline in baselines) table.AddRow(baseline.Name, $"{baseline.HeldOutLoss:f3}", "", "", "");
        foreach (var result in results)
            table.AddRow(new Markup($"[bold]{result.Arm.Name}[/]"), new Markup($"[bold]{result.HeldOut!.BitsPerByte:f3}[/]"), new Text($"{result.Arm.Design.CountParameters().Total:N0}"),
                new Text(Megabytes(result.Training.Tokens)), new Text($"{result.Training.Tokens / result.Training.Elapsed.TotalSeconds:N0}"));
        AnsiConsole.Write(table);
    }

    /// <summary>Reads the hybrid back from its checkpoint and lets it write.</summary>
    async Task<IReadOnlyList<RunSample>> Write(ArmResult hybrid, CancellationToken cancellation)
    {
        using var model = Checkpoint.Load(hybrid.Training.Checkpoint!);
        AnsiConsole.MarkupLineInterpolated($"[bold]Reloaded[/]  {hybrid.Training.Checkpoint}; it writes:");
        var generator = new TextGenerator(model, new ByteTokenizer());
        var samples = new List<RunSample>();
        var options = new GenerationOptions { MaxNewTokens = 220, Temperature = 0.7, TopP = 0.95, Seed = settings.Seed };
        foreach (var prompt in new[] { "Gets or sets the ", "The exception that is thrown when " })
        {
            AnsiConsole.Markup($"  [grey]{prompt.EscapeMarkup()}[/]");
            var text = new StringBuilder();
            await foreach (var piece in generator.StreamAsync(prompt, options, cancellation))
            {
                text.Append(piece.Text);
                AnsiConsole.Write(new Text(piece.Text.Replace('\n', ' ')));
            }
            AnsiConsole.WriteLine();
            samples.Add(new RunSample(prompt, text.ToString(), $"temperature {options.Temperature}, top-p {options.TopP}, seed {options.Seed}"));
        }
        return samples;
    }

    RunReport Report(TextCorpus corpus, IReadOnlyList<ArmResult> results, IReadOnlyList<Baseline> baselines, IReadOnlyList<RunSample> samples) => new()
    {
        Title = "Hybrid, Transformer and Mamba-2 side by side",
        Description = "Three models of one size, trained by one recipe on the same bytes of the same text; measured on text of other assemblies or files that none of them has seen.",
        Created = DateTimeOffset.Now,
        Baselines = baselines,
        Facts =
        [
            new("Text", corpus.Source),
            new("Trained on", $"{Megabytes(results[0].Training.Tokens)} of {Megabytes(corpus.TrainingBytes)}"),
            new("Held out", Megabytes(corpus.HeldOutBytes)),
            new("Recipe", $"AdamW, peak rate {Recipe.LearningRate}, {Rows} rows of {Context} bytes a step, trapezoid schedule, float32"),
            new("Seed", settings.Seed.ToString(CultureInfo.InvariantCulture)),
            new("Machine", $"{Environment.ProcessorCount} cores, {System.Runtime.InteropServices.RuntimeInformation.OSDescription}, .NET {Environment.Version}"),
        ],
        Runs = [.. results.Select((result, index) => result.ToSummary(index == 0 ? samples : []))],
    };

    static string Megabytes(long bytes) => bytes >= 1_000_000 ? $"{bytes / 1e6:f1} MB" : $"{bytes / 1e3:f0} kB";
}
