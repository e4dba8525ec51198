using System.Globalization;
using System.Text;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Reports;
using HybridArchitectures.Reports.Page;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using Spectre.Console;

namespace Quickstart;

/// <summary>Runs the comparison: text, baselines, training of all models, loading a checkpoint, generating text, and the report.</summary>
sealed class Comparison
{
    const double HeldOutShare = 0.03;                       // of the text
    const int EvaluationRows = 16;

    readonly RunSettings settings;
    readonly string folder;
    readonly Deadline deadline;

    Comparison(RunSettings settings, string folder)
    {
        (this.settings, this.folder) = (settings, folder);
        deadline = new Deadline(TimeSpan.FromMinutes(settings.Minutes), TimeProvider.System);
    }

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
        return Enumerable.Range(1, int.MaxValue).Select(number => number == 1 ? name : $"{name}-{number}")
            .First(candidate => !Directory.Exists(candidate));
    }

    public static Comparison Open(string folder) => new(RunSettings.Load(folder), folder);

    /// <summary>Runs the comparison.</summary>
    /// <param name="cancellation">Stops the run. Its state is saved.</param>
    /// <returns>True if the run is complete.</returns>
    public async Task<bool> Execute(CancellationToken cancellation)
    {
        try
        {
            if (await TryExecute(cancellation)) return true;
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
        }
        if (Directory.Exists(folder))
        {
            AnsiConsole.MarkupLineInterpolated($"[yellow]Stopped; the state is saved.[/] To continue:");
            AnsiConsole.MarkupLineInterpolated($"  dotnet run -c Release --project samples/Quickstart -- --resume {folder}");
        }
        else AnsiConsole.MarkupLine("[yellow]Stopped before the run began; nothing was written.[/]");
        return false;
    }

    async Task<bool> TryExecute(CancellationToken cancellation)
    {
        var corpus = settings.Data is { } path ? TextCorpus.FromPath(path, HeldOutShare) : DocumentationCorpus.Load(HeldOutShare);
        using var training = TokenDataset.FromBytes(corpus.Training);
        using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
        foreach (var (name, data) in new[] { ("training", training), ("held-out", heldOut) })
            if (data.Count <= 4 * Race.ContextLength)
                throw new ArgumentException(
                    $"the {name} text of {corpus.Source} has {data.Count} bytes; expected more than {4 * Race.ContextLength}");
        cancellation.ThrowIfCancellationRequested();
        Directory.CreateDirectory(folder);
        settings.Save(folder);
        Introduce(corpus);
        var baselines = Baselines(corpus);

        var race = new Race(folder, settings, deadline, training, heldOut);
        if (race.Run(cancellation) is not { } trained) return false;
        var results = Evaluate(race, trained, heldOut, cancellation);
        Show(results, baselines);
        var samples = await Write(results[0], cancellation);
        Report(corpus, results, baselines, samples).Write(Path.Combine(folder, "report"));
        AnsiConsole.MarkupLineInterpolated($"[bold]Report[/]    {Path.Combine(folder, "report", "index.html")}   ({deadline.Elapsed:f0} s in all)");
        return true;
    }

    static void Introduce(TextCorpus corpus)
    {
        AnsiConsole.MarkupLineInterpolated($"[bold]Text[/]         {corpus.Source}");
        AnsiConsole.MarkupLineInterpolated($"             {Megabytes(corpus.TrainingBytes)} to train on, {Megabytes(corpus.HeldOutBytes)} held out");
        if (corpus.Omitted is [var first, ..])
            AnsiConsole.MarkupLineInterpolated($"             {corpus.Omitted.Count} files were not read, such as {first.Name}: {first.Reason}");
        foreach (var arm in Arm.All)
        {
            var parameters = arm.Design.CountParameters().Total;
            string rate = RateTrials.Text(arm.Rate);
            AnsiConsole.MarkupLineInterpolated($"[bold]{arm.Name,-12}[/] {arm.Design.Pattern}, {parameters:N0} parameters, peak rate {rate}");
        }
        AnsiConsole.MarkupLineInterpolated($"             Each rate is {Arm.RateRule}.");
    }

    /// <summary>Measures the trained models on the same held-out text: on all of it if the time allows, or else on evenly spread windows.</summary>
    IReadOnlyList<ArmResult> Evaluate(
        Race race, IReadOnlyDictionary<Arm, TrainingResult> trained, TokenDataset heldOut, CancellationToken cancellation)
    {
        double share = deadline.ShareToMeasure(race.SecondsPerStep, race.StepsToMeasure);
        long tokens = share == 1 ? 0 : Math.Max(4 * Race.ContextLength, (long)(share * heldOut.Count));
        var results = new List<ArmResult>();
        foreach (var arm in Arm.All)
        {
            using var model = Checkpoint.Load(trained[arm].Checkpoint!);
            var measured = Evaluator.Evaluate(model, heldOut, Race.ContextLength, EvaluationRows, tokens, cancellation: cancellation);
            results.Add(new ArmResult(arm, trained[arm], measured));
        }
        if (tokens > 0)
            AnsiConsole.MarkupLineInterpolated(
                $"Measured on {Megabytes(results[0].HeldOut.Tokens)} of the held-out text, spread evenly: the time was over.");
        return results;
    }

    static IReadOnlyList<Baseline> Baselines(TextCorpus corpus)
    {
        static byte[] Bytes(IReadOnlyList<TextDocument> documents) =>
            Encoding.UTF8.GetBytes(string.Concat(documents.Select(document => document.Text)));
        byte[] training = Bytes(corpus.Training), heldOut = Bytes(corpus.HeldOut);
        return [.. new[] { 0, 2 }.Select(order => new Baseline($"order-{order} byte model", new ByteModel(order, training).BitsPerByte(heldOut)))];
    }

    static void Show(IReadOnlyList<ArmResult> results, IReadOnlyList<Baseline> baselines)
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumn("held-out text");
        foreach (var heading in new[] { "bits per byte", "peak rate", "trained on", "bytes/s" })
            table.AddColumn(new TableColumn(heading).RightAligned());
        foreach (var baseline in baselines) table.AddRow(baseline.Name, $"{baseline.HeldOutLoss:f3}", "", "", "");
        foreach (var result in results)
            table.AddRow(
                new Markup($"[bold]{result.Arm.Name}[/]"), new Markup($"[bold]{result.HeldOut.BitsPerByte:f3}[/]"),
                new Text(RateTrials.Text(result.Arm.Rate)),
                new Text(Megabytes(result.Training.Tokens)), new Text($"{result.TokensPerSecond:N0}"));
        AnsiConsole.Write(table);
    }

    /// <summary>Loads the hybrid from its checkpoint and generates text until the time is over.</summary>
    async Task<IReadOnlyList<RunSample>> Write(ArmResult hybrid, CancellationToken cancellation)
    {
        using var model = Checkpoint.Load(hybrid.Training.Checkpoint!);
        AnsiConsole.MarkupLineInterpolated($"[bold]Reloaded[/]  {hybrid.Training.Checkpoint}; it writes:");
        using var time = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        time.CancelAfter(TimeSpan.FromSeconds(Math.Max(0.5, deadline.Left)));
        var generator = new TextGenerator(model, new ByteTokenizer());
        var samples = new List<RunSample>();
        var options = new GenerationOptions { MaxNewTokens = 220, Temperature = 0.7, TopP = 0.95, Seed = settings.Seed };
        foreach (var prompt in new[] { "Gets or sets the ", "The exception that is thrown when " })
        {
            if (time.IsCancellationRequested) break;
            var text = new StringBuilder();
            try
            {
                await Stream(generator, prompt, options, text, time.Token);
            }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
            {
                // the time is over: the text so far is shown
            }
            AnsiConsole.WriteLine();
            var choice = FormattableString.Invariant($"temperature {options.Temperature}, top-p {options.TopP}, seed {options.Seed}");
            samples.Add(new RunSample(prompt, text.ToString(), choice));
        }
        return samples;
    }

    static async Task Stream(TextGenerator generator, string prompt, GenerationOptions options, StringBuilder text, CancellationToken cancellation)
    {
        AnsiConsole.Markup($"  [grey]{prompt.EscapeMarkup()}[/]");
        await foreach (var piece in generator.StreamAsync(prompt, options, cancellation))
        {
            text.Append(piece.Text);
            AnsiConsole.Write(new Text(string.Concat(piece.Text.Select(letter => char.IsControl(letter) ? ' ' : letter))));
        }
    }

    RunReport Report(TextCorpus corpus, IReadOnlyList<ArmResult> results, IReadOnlyList<Baseline> baselines, IReadOnlyList<RunSample> samples) =>
        new()
    {
        Title = "Hybrid, Transformer and Mamba-2 side by side",
        Description =
        "Three models of one size, trained for the same steps on the same bytes of the same text, each at the peak learning rate that is "
            + "best for its design. They are measured on text of other assemblies or files that none of them has seen.",
        Created = DateTimeOffset.Now,
        Baselines = baselines,
        Facts =
        [
            new("Text", corpus.Source),
            new("Trained on", $"{Megabytes(results[0].Training.Tokens)} of {Megabytes(corpus.TrainingBytes)}, {results[0].Training.Steps:N0} steps"),
            new("Measured on", $"{Megabytes(results[0].HeldOut.Tokens)} of {Megabytes(corpus.HeldOutBytes)} held out"),
            new("Peak rates",
            $"{string.Join(", ", results.Select(result => $"{result.Arm.Name} {RateTrials.Text(result.Arm.Rate)}"))}. Each rate is {Arm.RateRule}."),
            new("Recipe", $"AdamW, {Race.Rows} rows of {Race.ContextLength} bytes per step, trapezoid schedule, float32"),
            new("Seed", settings.Seed.ToString(CultureInfo.InvariantCulture)),
            new("Machine",
            $"{Environment.ProcessorCount} cores, {System.Runtime.InteropServices.RuntimeInformation.OSDescription}, .NET {Environment.Version}"),
        ],
        Runs = [.. results.Select((result, index) => result.ToSummary(index == 0 ? samples : []))],
    };

    static string Megabytes(long bytes) => bytes >= 1_000_000 ? $"{bytes / 1e6:f1} MB" : $"{bytes / 1e3:f0} kB";
}
