using System.CommandLine;
using System.Diagnostics;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments;

static class Program
{
    const int VocabularySize = 8192;
    const string VisibleGpus = "CUDA_VISIBLE_DEVICES";

    static int Main(string[] arguments)
    {
        var root = new RootCommand("The experiments of lab/experiments.")
        {
            Tokens(), List(), Run(arguments), Optimizers(), Recipe(), Trial(), Merge(), Collect(), Report(),
        };
        try
        {
            return root.Parse(arguments).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
        }
        catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }
    }

    static readonly Option<bool> Tiny = new("--tiny") { Description = "Tiny models and a few steps, to check that everything runs on a CPU." };

    static StudySize SizeOf(ParseResult arguments) => arguments.GetValue(Tiny) ? StudySize.Tiny : new StudySize();

    static Command Tokens()
    {
        var corpus = new Argument<string>("corpus") { Description = "The folder that corpus/build.py wrote." };
        var tokenizer = new Argument<string>("tokenizer") { Description = "The folder of the tokenizer." };
        var folder = new Argument<string>("folder") { Description = "The folder to write." };
        var command = new Command("tokens", "Writes the corpus as token shards.") { corpus, tokenizer, folder };
        command.SetAction(arguments => StudyData.Write(arguments.GetValue(corpus)!, arguments.GetValue(tokenizer)!, arguments.GetValue(folder)!));
        return command;
    }

    static Command List()
    {
        var command = new Command("list", "Lists the experiments with their runs, tokens, FLOPs and time. Runs of an earlier one do not count again.")
        {
            Tiny,
        };
        command.SetAction(arguments =>
        {
            var size = SizeOf(arguments);
            var known = new HashSet<string>();
            foreach (var experiment in new Catalogue(size, VocabularySize).All)
            {
                Console.WriteLine(ExperimentSize.Of(experiment, size, known));
            }
        });
        return command;
    }

    static Command Run(string[] all)
    {
        var names = new Argument<string[]>("names") { Description = "The experiments, or all.", Arity = ArgumentArity.OneOrMore };
        var data = new Option<string?>("--data") { Description = "The folder that tokens wrote. With --tiny, it may be omitted." };
        var tokenizer = new Option<string>("--tokenizer") { Description = "With --tiny and without --data: the folder of the tokenizer.",
            DefaultValueFactory = _ => "lab/experiments/tokenizer" };
        var folder = new Option<string>("--out") { Description = "The folder of the runs.", DefaultValueFactory = _ => "runs/experiments" };
        var device = new Option<string>("--device") { Description = "cpu or cuda.", DefaultValueFactory = _ => "cpu" };
        var minutes = new Option<double?>("--minutes") { Description = "Stops after this time. The same command continues." };
        var processes = new Option<int>("--processes") { Description = "The number of processes that share the runs, each on its own GPU.",
            DefaultValueFactory = _ => 1 };
        var only = new Option<string[]>("--designs") { Description = "Runs these designs only, by the names of the report.",
            AllowMultipleArgumentsPerToken = true };
        var results = new Option<string?>("--results") { Description = "A zip file: its runs are added first, and all runs are written to it last." };
        var command = new Command("run", "Runs experiments.") { names, data, tokenizer, folder, device, minutes, processes, only, results, Tiny };
        command.SetAction(arguments =>
        {
            var (runs, archive) = (arguments.GetValue(folder)!, arguments.GetValue(results));
            if (archive is not null && File.Exists(archive)) ResultFiles.Unpack(archive, runs);
            using var stop = new StopSignals(report: Console.Error.WriteLine);
            using var ends = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
            if (arguments.GetValue(minutes) is { } limit) ends.CancelAfter(TimeSpan.FromMinutes(limit));
            var size = SizeOf(arguments);
            var chosen = Chosen(size, arguments.GetValue(names)!);
            var designs = Only(chosen, arguments.GetValue(only)!);
            RequireGpus(arguments.GetValue(processes), arguments.GetValue(device)!);
            var helpers = Enumerable.Range(1, Math.Max(0, arguments.GetValue(processes) - 1)).Select(number => StartHelper(all, number)).ToArray();
            using var loaded = arguments.GetValue(data) is { } path ? StudyData.Open(path) : StudyData.OpenTiny(arguments.GetValue(tokenizer)!);
            var runner = new ExperimentRunner(size, loaded, runs, new Device(arguments.GetValue(device)!));
            bool isComplete = runner.Run(chosen, designs, ends.Token);
            foreach (var helper in helpers) helper.WaitForExit();
            // what helpers were still training, or have left
            if (helpers.Length > 0 && !isComplete) isComplete = runner.Run(chosen, designs, ends.Token);
            if (archive is not null) ResultFiles.Pack(runs, archive);
            Console.WriteLine(isComplete ? "complete" : "not complete; the same command continues");
            return stop.Token.IsCancellationRequested ? stop.ExitCode : helpers.Select(helper => helper.ExitCode).FirstOrDefault(code => code != 0);
        });
        return command;
    }

    static readonly MuonOptions StandardMuon = new();

    static readonly Option<double> OthersRate = new("--others-rate")
    {
        Description = "The rate of the parameters that AdamW trains next to Muon, as a multiple.", DefaultValueFactory = _ => StandardMuon.OthersRate,
    };

    static readonly Option<double> Momentum = new("--momentum")
    {
        Description = "The momentum of Muon.", DefaultValueFactory = _ => StandardMuon.Momentum,
    };

    static readonly Option<bool> EqualNorms = new("--equal-norms")
    {
        Description = "Whether Muon gives the vectors of the longer side the same norm.", DefaultValueFactory = _ => StandardMuon.EqualNorms,
    };

    static readonly Option<bool> PerHead = new("--per-head")
    {
        Description = "Whether each head of attention is a matrix of Muon.", DefaultValueFactory = _ => StandardMuon.PerHead,
    };

    static MuonOptions MuonConstants(ParseResult arguments) => new()
    {
        OthersRate = arguments.GetValue(OthersRate), Momentum = arguments.GetValue(Momentum),
        EqualNorms = arguments.GetValue(EqualNorms), PerHead = arguments.GetValue(PerHead),
    };

    static Command Optimizers()
    {
        var data = new Option<string?>("--data") { Description = "The folder that tokens wrote. With --tiny, it may be omitted." };
        var tokenizer = new Option<string>("--tokenizer") { Description = "With --tiny and without --data: the folder of the tokenizer.",
            DefaultValueFactory = _ => "lab/experiments/tokenizer" };
        var folder = new Option<string>("--out") { Description = "The folder of the runs.", DefaultValueFactory = _ => "runs/optimizers" };
        var device = new Option<string>("--device") { Description = "cpu or cuda.", DefaultValueFactory = _ => "cpu" };
        var minutes = new Option<double?>("--minutes") { Description = "Stops after this time. The same command continues." };
        var steps = new Option<int>("--steps") { Description = "The steps of AdamW.", DefaultValueFactory = _ => 800 };
        var shares = new Option<double[]>("--shares") { Description = "Two or more shares of the steps that Muon makes, ascending.",
            AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [0.5, 0.75] };
        var seeds = new Option<long[]?>("--seeds") { Description = "The seeds of the comparison. None: only the tuning. Default: 1 2 3.",
            AllowMultipleArgumentsPerToken = true, Arity = ArgumentArity.ZeroOrMore };
        var results = new Option<string?>("--results") { Description = "A zip file: its runs are added first, and all runs are written to it last." };
        var command = new Command("optimizers", "Measures how many steps Muon needs for the loss of AdamW on a small hybrid.")
        {
            data, tokenizer, folder, device, minutes, steps, shares, seeds, OthersRate, Momentum, EqualNorms, PerHead, results, Tiny,
        };
        command.SetAction(arguments =>
        {
            var (runs, archive) = (arguments.GetValue(folder)!, arguments.GetValue(results));
            if (archive is not null && File.Exists(archive)) ResultFiles.Unpack(archive, runs);
            using var stop = new StopSignals(report: Console.Error.WriteLine);
            using var ends = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
            if (arguments.GetValue(minutes) is { } limit) ends.CancelAfter(TimeSpan.FromMinutes(limit));
            using var loaded = arguments.GetValue(data) is { } path ? StudyData.Open(path) : StudyData.OpenTiny(arguments.GetValue(tokenizer)!);
            var comparison = new OptimizerComparison(loaded, runs, new Device(arguments.GetValue(device)!), arguments.GetValue(Tiny))
            {
                Steps = arguments.GetValue(steps), Shares = RequireShares(arguments.GetValue(shares)!),
                Seeds = arguments.GetResult(seeds) is null ? null : RequireSeeds(arguments.GetValue(seeds)!),
                MuonOptions = MuonConstants(arguments),
            };
            string end = comparison.Run(ends.Token) ? "complete" : "not complete; the same command continues";
            if (archive is not null) ResultFiles.Pack(runs, archive);
            Console.WriteLine($"{comparison.Table()}\n{end}");
            return stop.ExitCode;
        });
        return command;
    }

    // seed 0 tunes the rates
    static long[] RequireSeeds(long[] seeds) => seeds.All(seed => seed > 0) && seeds.Distinct().Count() == seeds.Length ? seeds
        : throw new ArgumentException($"seeds is {string.Join(' ', seeds)}; expected different numbers above 0.");

    static double[] RequireShares(double[] shares) =>
        shares.Length >= 2 && shares.All(share => share > 0) && shares.SequenceEqual(shares.Distinct().Order()) ? shares
            : throw new ArgumentException($"shares is {string.Join(' ', shares)}; expected two or more numbers above 0 in ascending order.");

    static Command Recipe()
    {
        var name = new Argument<string>("recipe") { Description = "A recipe of the paper, see docs/reference/recipes.md." };
        var data = new Option<string?>("--data") { Description = "The folder that tokens wrote. Default: documentation of .NET." };
        var tokenizer = new Option<string>("--tokenizer") { Description = "Without --data: the folder of the tokenizer.",
            DefaultValueFactory = _ => "lab/experiments/tokenizer" };
        var folder = new Option<string>("--out") { Description = "The folder of the run.", DefaultValueFactory = _ => "runs/recipe" };
        var device = new Option<string>("--device") { Description = "cpu or cuda.", DefaultValueFactory = _ => "cpu" };
        var minutes = new Option<double>("--minutes") { Description = "The time of the whole run.", DefaultValueFactory = _ => 10 };
        var limit = new Option<double?>("--call-minutes") { Description = "Stops this call with a checkpoint after this time. Default: no limit." };
        var steps = new Option<long?>("--steps") { Description = "The steps. Default: as many as a pilot finds possible in --minutes." };
        var tokens = new Option<int>("--step-tokens") { Description = "The tokens of a step.", DefaultValueFactory = _ => 1 << 17 };
        var rows = new Option<int>("--micro-rows") { Description = "The rows of a forward pass. Default: all rows of a step." };
        var heldOut = new Option<int>("--held-out-tokens") { Description = "The held-out tokens to measure.", DefaultValueFactory = _ => 1 << 19 };
        var context = new Option<int?>("--context") { Description = "The context length. Default: that of the recipe." };
        var command = new Command("recipe", "Trains a recipe of the paper on the text for a given time. The same command continues.")
        {
            name, data, tokenizer, folder, device, minutes, limit, steps, tokens, rows, heldOut, context,
        };
        command.SetAction(arguments =>
        {
            using var stop = new StopSignals(report: Console.Error.WriteLine);
            using var ends = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
            if (arguments.GetValue(limit) is { } time) ends.CancelAfter(TimeSpan.FromMinutes(time));
            using var loaded = arguments.GetValue(data) is { } path ? StudyData.Open(path) : StudyData.OpenTiny(arguments.GetValue(tokenizer)!);
            var run = new RecipeRun(loaded, arguments.GetValue(folder)!, new Device(arguments.GetValue(device)!))
            {
                TokensPerStep = arguments.GetValue(tokens), MicroRows = arguments.GetValue(rows), ContextLength = arguments.GetValue(context),
                HeldOutTokens = arguments.GetValue(heldOut), Steps = arguments.GetValue(steps),
            };
            return run.Run(Recipes.Get(arguments.GetValue(name)!), TimeSpan.FromMinutes(arguments.GetValue(minutes)), ends.Token)
                ? 0 : stop.ExitCode;
        });
        return command;
    }

    static Command Trial()
    {
        var standard = new RecallSetting();
        var names = new Argument<string[]>("designs") { Description = "Designs of the experiment recall.", Arity = ArgumentArity.OneOrMore };
        var rate = new Option<double>("--rate") { Description = "The peak learning rate.", DefaultValueFactory = _ => 1e-3 };
        var length = new Option<int>("--length") { Description = "The tokens of a row.", DefaultValueFactory = _ => standard.Length };
        var pairs = new Option<int>("--pairs") { Description = "The maximum number of pairs.", DefaultValueFactory = _ => standard.Pairs };
        var fewest = new Option<int>("--min-pairs") { Description = "The minimum number of pairs.", DefaultValueFactory = _ => standard.MinPairs };
        var steps = new Option<int>("--steps") { Description = "The steps.", DefaultValueFactory = _ => standard.Steps };
        var tokens = new Option<int>("--tokens") { Description = "The tokens per step.", DefaultValueFactory = _ => standard.TokensPerStep };
        var folder = new Option<string>("--out") { Description = "The folder of the runs.", DefaultValueFactory = _ => "runs/recall-trials" };
        var device = new Option<string>("--device") { Description = "cpu or cuda.", DefaultValueFactory = _ => "cpu" };
        var command = new Command("recall-trial", "Trains designs on the recall task with one seed, and prints their accuracies: for the maximum "
            + "number of pairs, for half and a quarter of it, and for the maximum in rows of 1.5 and 2 times the length.")
        {
            names, rate, length, pairs, fewest, steps, tokens, folder, device, Tiny,
        };
        command.SetAction(arguments =>
        {
            using var stop = new StopSignals(report: Console.Error.WriteLine);
            var setting = new RecallSetting
            {
                Length = arguments.GetValue(length), Pairs = arguments.GetValue(pairs), MinPairs = arguments.GetValue(fewest),
                Steps = arguments.GetValue(steps), TokensPerStep = arguments.GetValue(tokens),
            };
            var trial = new RecallTrial(setting, VocabularySize, arguments.GetValue(folder)!, new Device(arguments.GetValue(device)!));
            var designs = new Catalogue(SizeOf(arguments), VocabularySize).RecallDesigns;
            foreach (string name in arguments.GetValue(names)!)
            {
                var design = designs.FirstOrDefault(design => design.Name == name) ?? throw new ArgumentException(
                    $"designs contains {name}; expected some of {string.Join(", ", designs.Select(design => design.Name))}.");
                Console.WriteLine(trial.Run(design, arguments.GetValue(rate), stop.Token));
            }
        });
        return command;
    }

    // processes on one GPU would gain nothing, and slow each other's measurements
    static void RequireGpus(int processes, string device)
    {
        if (processes < 2 || !device.StartsWith("cuda", StringComparison.Ordinal)) return;
        int gpus = device == "cuda" ? TorchSharp.torch.cuda.device_count() : 1;
        if (processes > gpus)
            throw new ArgumentException($"processes is {processes}; expected at most {gpus}, one for each GPU of --device {device}.");
    }

    static IEnumerable<Experiment> Chosen(StudySize size, string[] names)
    {
        var all = new Catalogue(size, VocabularySize).All;
        if (names is ["all"]) return all;
        return [.. names.Select(name => all.FirstOrDefault(experiment => experiment.Name == name) ?? throw new ArgumentException(
            $"names contains {name}; expected all or some of {string.Join(", ", all.Select(experiment => experiment.Name))}."))];
    }

    static string[]? Only(IEnumerable<Experiment> experiments, string[] names)
    {
        if (names.Length == 0) return null;
        var known = experiments.SelectMany(experiment => experiment.Parts).SelectMany(part => part.Designs.Select(part.NameOf)).ToHashSet();
        return names.FirstOrDefault(name => !known.Contains(name)) is not { } unknown ? names : throw new ArgumentException(
            $"--designs contains '{unknown}'; expected some of {string.Join("; ", known)}.");
    }

    // the same command, as one process on the GPU of its number and without the archive
    static Process StartHelper(string[] arguments, int number)
    {
        string program = Environment.ProcessPath!;
        var start = new ProcessStartInfo(program);
        if (Path.GetFileNameWithoutExtension(program) == "dotnet") start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
        for (int i = 0; i < arguments.Length; i++)
        {
            if (arguments[i] is "--processes" or "--results") i++;
            else start.ArgumentList.Add(arguments[i]);
        }
        string? visible = Environment.GetEnvironmentVariable(VisibleGpus);
        start.Environment[VisibleGpus] = visible is null ? $"{number}" : visible.Split(',').ElementAtOrDefault(number) ?? visible;
        return Process.Start(start)!;
    }

    static Command Merge()
    {
        var sources = new Argument<string[]>("sources")
        {
            Description = "Folders of runs, or files of run --results.", Arity = ArgumentArity.OneOrMore,
        };
        var folder = new Option<string>("--out") { Description = "The folder of the runs.", DefaultValueFactory = _ => "runs/experiments" };
        var command = new Command("merge", "Joins the runs of several machines.") { sources, folder };
        command.SetAction(arguments =>
        {
            foreach (string source in arguments.GetValue(sources)!)
                if (Directory.Exists(source)) Sweep.Merge([source], arguments.GetValue(folder)!);
                else ResultFiles.Unpack(source, arguments.GetValue(folder)!);
        });
        return command;
    }

    static Command Collect()
    {
        var folder = new Argument<string>("folder") { Description = "The folder of the runs." };
        var file = new Argument<string>("file") { Description = "The file to write, such as lab/experiments/results/runs.jsonl." };
        var command = new Command("collect", "Writes the complete runs as one file, which is small enough to commit.") { folder, file };
        command.SetAction(arguments =>
            Console.WriteLine($"{ResultFiles.Collect(arguments.GetValue(folder)!, arguments.GetValue(file)!).Runs.Count} runs"));
        return command;
    }

    static Command Report()
    {
        var file = new Argument<string>("file") { Description = "The file that collect wrote." };
        var folder = new Argument<string>("folder") { Description = "The folder to write." };
        var command = new Command("report", "Writes the page with the verdicts, and a report of each experiment.") { file, folder, Tiny };
        command.SetAction(arguments =>
        {
            var size = SizeOf(arguments);
            var result = SweepResult.ReadFile(arguments.GetValue(file)!);
            var catalogue = new Catalogue(size, VocabularySize);
            var findings = TestedFinding.Test(Path.Combine(AppContext.BaseDirectory, "findings.json"), size, catalogue, result);
            new StudyReport(size, catalogue, result, findings).Write(arguments.GetValue(folder)!);
        });
        return command;
    }
}
