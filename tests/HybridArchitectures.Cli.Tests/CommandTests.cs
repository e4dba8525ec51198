using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cli.Commands;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Tests;
using static HybridArchitectures.Cli.Tests.CommandLine;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Tests;

public sealed class CommandTests : IDisposable
{
    const string Small = "MT:width=16,vocabulary=256,heads=2,state=4,head=8,feed=16";

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_lack_of_memory_is_one_line()
    {
        var command = GuardedCommand.Create("x", "X", "y");
        command.SetGuardedAction(_ => throw new InsufficientMemoryException("a pass does not fit.\nUse less."));
        var complained = new StringWriter();
        var error = Console.Error;
        Console.SetError(complained);
        try
        {
            Assert.Equal(ExitCode.Refused, command.Parse([]).Invoke());
        }
        finally
        {
            Console.SetError(error);
        }
        Assert.Equal("a pass does not fit. Use less.", complained.ToString().Trim());
    }

    [Fact]
    public void Every_command_has_a_description_and_an_example()
    {
        var commands = CommandTree.Create().Subcommands;
        string[] expected =
        [
            "bench", "chat", "convert", "cost", "diff", "distill", "eval", "generate", "new", "report", "review", "sweep", "train", "verify",
        ];
        Assert.Equal(expected,
            commands.Select(command => command.Name).Order());
        foreach (var command in commands)
        {
            Assert.Contains($"Example: hybrid {command.Name} ", command.Description);
            Assert.All(command.Options.Where(option => option.Name.StartsWith("--", StringComparison.Ordinal) && option.Name != "--help"), option =>
                Assert.False(string.IsNullOrEmpty(option.Description)));
            Assert.All(command.Arguments, argument => Assert.False(string.IsNullOrEmpty(argument.Description)));
        }
        Assert.Contains("Exit codes: 0 success", CommandTree.Create().Description);
    }

    [Fact]
    public void Errors_are_one_line_with_the_remedy()
    {
        Assert.Contains("expected a file, a folder, a recipe", Fails("cost", "nothing"));
        Assert.Contains("expected width=N", Fails("cost", "MT:heads=2"));
        Assert.Contains("design size is 'wide=3'; expected one of width,", Fails("review", "MT:wide=3"));
        // the names of recipes contain ratios
        Assert.Contains("design is '1B-inter-1:7'; expected a file, a folder, a recipe", Fails("cost", "1B-inter-1:7"));
        Assert.Contains("expected the folder of a checkpoint", Fails("generate", folder["none"], "--prompt", "x"));
        Assert.Contains("hybrid new", Fails("sweep", folder["none.json"]));
        Assert.Contains("expected exactly one, such as --steps 1000",
            Fails("train", Small, "--data", File("data.txt", "some text, long enough to be divided into two parts. " + new string('x', 400)),
                "--folder", folder["run"]));
        Assert.Contains("--help", Fails("train"));
        File("sweep.json", "{ \"folder\": \"f\", \"designs\": [], \"data\": \"d\", \"stepz\": 3 }");
        Assert.Contains("stepz", Fails("sweep", folder["sweep.json"]));
    }

    string File(string name, string text)
    {
        System.IO.File.WriteAllText(folder[name], text);
        return folder[name];
    }

    [Fact]
    public void A_design_is_written_reviewed_compared_and_verified()
    {
        Assert.Equal(0, Run("new", folder["design.json"], "--design", Small).Code);
        Assert.Contains("which exists", Fails("new", folder["design.json"]));
        var design = HybridDesign.FromJson(System.IO.File.ReadAllText(folder["design.json"]));
        Assert.Equal(("MT", 16, 256), (design.Pattern, design.Width, design.VocabularySize));
        Assert.Contains("parameters", Run("cost", folder["design.json"], "--context", "1024", "--accelerator", "H200").Output);
        string many = Run("cost", folder["design.json"], "--context", "1024", "--ranks", "8", "--link", "InfiniBand").Output;
        Assert.Contains("8 x InfiniBand", many);
        Assert.Contains("efficiency 0.", many);
        Assert.Contains("fully sharded    ", many);
        Assert.Contains("hybrid, NVLink   ", Run("cost", Small, "--ranks", "8", "--link", "InfiniBand", "--machines", "2").Output);
        Assert.Contains("--machines is 3; expected a divisor of 8, the number of ranks.", Fails("cost", Small, "--ranks", "8", "--machines", "3"));
        Assert.Contains("link is \"rope\"; expected one of NVLink, ", Fails("cost", Small, "--ranks", "8", "--link", "rope"));
        Assert.Equal(0, Run("diff", folder["design.json"], Small).Code);
        var (code, output, _) = Run("diff", folder["design.json"], Small.Replace("feed=16", "feed=32"));
        Assert.Equal(ExitCode.Found, code);
        Assert.Contains("16", output);
        Assert.Equal(0, Run("verify", Small.Replace("vocabulary=256", "vocabulary=32")).Code);
        Assert.InRange(Run("review", folder["design.json"], "--fix", folder["cured.json"]).Code, 0, 1);
        HybridDesign.FromJson(System.IO.File.ReadAllText(folder["cured.json"])).Check();
        Assert.Equal(0, Run("new", folder["project"], "--kind", "project").Code);
        Assert.True(System.IO.File.Exists(Path.Combine(folder["project"], "project.csproj")));
    }

    string Text() => SmallText(folder);

    [Fact]
    public void A_run_is_trained_continued_measured_and_converted()
    {
        string data = Text(), run = folder["run"];
        string[] train = ["train", Small, "--data", data, "--folder", run, "--steps", "4", "--context", "32", "--batch", "2"];
        var (code, output, error) = Run(train);
        Assert.True(code == 0, error);
        Assert.Contains("4 steps, 256 tokens", output);
        Assert.Contains("bits per byte", output);
        Continue(train, data);
        Measure(run, data);
        Generate(run);
        string last = Directory.GetDirectories(run, "step-*").Max(StringComparer.Ordinal)!;
        // the folder of a run means its last checkpoint
        Assert.Contains("the same bit for bit", Run("convert", run, folder["own"], "--to", "own").Output);
        Assert.Equal(0, Run("diff", last, folder["own"]).Code);
        Assert.Equal(0, Run("diff", run, folder["own"]).Code);
        Assert.Equal(0, Run("diff", run, Small).Code);
        Assert.Contains($"folder is '{run}', which contains no run of a sweep; expected", Fails("report", run));
    }

    static HybridDesign Qwen => HybridDesign.Create(16, 40).WithMixer(new GatedDeltaSpec { KeyHeads = 1, KeyHeadSize = 4 })
        .WithAttention(new AttentionSpec { Heads = 2, HeadSize = 8, QkNorm = true, OutputGate = true, Rotary = new() })
        .WithFeedForward(FeedForwardSpec.SwiGlu(8)).Pattern("GT").Build() with { ZeroCenteredNorms = true };

    static void Change(string file, Action<Dictionary<string, Tensor>> change)
    {
        using var scope = NewDisposeScope();
        Dictionary<string, Tensor> tensors;
        using (var saved = SafetensorsFile.Open(file)) tensors = saved.Entries.ToDictionary(entry => entry.Name, entry => saved.Read(entry.Name));
        change(tensors);
        SafetensorsFile.Write(file, tensors);
    }

    [Fact]
    public void Tensors_that_are_not_loaded_are_named()
    {
        string source = folder["qwen"];
        using (var model = Qwen.CreateModel(seed: 1)) PretrainedModel.Save(model, source, "qwen3_5");
        Change(Path.Combine(source, "model.safetensors"), tensors => (tensors["mtp.fc.weight"], tensors["model.visual.a"]) = (zeros(3), zeros(2)));
        var (code, output, error) = Run("convert", source, folder["own"], "--to", "own");
        Assert.Equal(0, code);
        Assert.Contains("1 tensors of the vision model (model.visual.*) are not loaded: model.visual.a.", error);
        Assert.Contains("the head of multi-token prediction is left out", error);
        Assert.Contains("missing: mtp.pre_fc_norm_embedding.weight", error);
        Assert.DoesNotContain("head", output);
    }

    [Fact]
    public void A_head_with_settings_that_are_not_supported_is_left_out_with_its_reason()
    {
        string source = folder["qwen"], config = Path.Combine(source, "config.json");
        using (var model = Qwen.CreateModel(seed: 1))
        using (var head = PredictionHead.Create(model, seed: 2)) PretrainedModel.Save(model, source, "qwen3_5", new() { PredictionHead = head });
        string settings = System.IO.File.ReadAllText(config).Replace("\"mtp_num_hidden_layers\": 1", "\"mtp_num_hidden_layers\": 2");
        System.IO.File.WriteAllText(config, settings);
        var (code, output, error) = Run("convert", source, folder["own"], "--to", "own");
        Assert.Equal(0, code);
        Assert.Contains("the head of multi-token prediction is left out", error);
        Assert.Contains("mtp_num_hidden_layers is 2; expected 1", error);
        Assert.DoesNotContain("head", output);
    }

    [Theory]
    [InlineData("float32")]
    [InlineData("bfloat16")]
    public void A_head_of_multi_token_prediction_is_converted_with_its_model(string type)
    {
        string source = folder["qwen"];
        Dictionary<string, byte[]> Heads(string place)
        {
            using var scope = NewDisposeScope();
            using var file = SafetensorsFile.Open(Path.Combine(place, "model.safetensors"));
            return file.Entries.Where(entry => entry.Name.StartsWith("mtp.")).ToDictionary(entry => entry.Name,
                entry => file.Read(entry.Name).to(type == "float32" ? ScalarType.Float32 : ScalarType.BFloat16).bytes.ToArray());
        }
        using (var model = Qwen.CreateModel(seed: 1))
        using (var head = PredictionHead.Create(model, seed: 2)) PretrainedModel.Save(model, source, "qwen3_5", new() { PredictionHead = head });
        foreach (var (from, to, family) in new[] { (source, folder["own"], "own"), (folder["own"], folder["back"], "qwen3_5_text") })
            Assert.Contains("and so is the head of multi-token prediction", Run("convert", from, to, "--to", family, "--dtype", type).Output);
        Assert.Equal(15, Heads(source).Count);
        Assert.Equal(Heads(source), Heads(folder["back"]));
    }

    [Fact]
    public void Several_ranks_print_the_command_that_starts_them()
    {
        string data = Text();
        Assert.Equal($"mpirun -n 4 hybrid train {Small} --data {data} --folder 'a run'\n".ReplaceLineEndings(),
            Run("train", Small, "--data", data, "--ranks", "4", "--folder", "a run").Output);
        Assert.Contains("--ranks is 0; expected at least 1.", Fails("train", Small, "--data", data, "--folder", "a", "--ranks", "0"));
    }

    void Continue(string[] train, string data)
    {
        string run = folder["run"];
        Assert.Contains("the run has its 4 steps already; nothing is trained", Succeeds(train));
        string[] With(string flag, string value) => [.. train.Select((word, i) => i > 0 && train[i - 1] == flag ? value : word)];
        Assert.Contains("differs from that of the run", Fails([train[0], Small.Replace("feed=16", "feed=32"), .. train[2..]]));
        Assert.Equal(0, Run([train[0], Small.Replace(",feed=16", ",feed=16,repeat=1"), .. train[2..]]).Code);     // the same design in other words
        Assert.Contains("--context is 64; expected 32, with which the run in this folder began", Fails(With("--context", "64")));
        Assert.Contains("--seed is 5; expected 1", Fails([.. train, "--seed", "5"]));
        var longer = Run([.. With("--steps", "6"), "--learning-rate", "0.001"]);
        Assert.Contains("the peak learning rate is 0.001 from here on; the run began with 0.003", longer.Output);
        Assert.Contains("6 steps, 384 tokens", longer.Output);
        Assert.Contains("the run has 6 steps already, more than 1; nothing is trained", Succeeds(With("--steps", "1")));
        Succeeds(With("--steps", "6"));
        // without --context and --steps, those of the run hold
        Assert.Contains("6 steps, 384 tokens", Run("train", Small, "--data", data, "--folder", run).Output);
    }

    void Measure(string run, string data)
    {
        var measured = Run("eval", run, "--task", "held-out", "--task", "position", "--data", data, "--context", "32", "--json",
            folder["results.json"]);
        Assert.True(measured.Code == 0, measured.Error);
        Assert.StartsWith("held-out loss: Mean cross entropy", measured.Output);
        Assert.Contains("metric\tvalue\tstandard error\tunit", measured.Output);
        Assert.Equal(2, JsonNode.Parse(System.IO.File.ReadAllText(folder["results.json"]))!.AsArray().Count);
        Assert.Contains("task is 'x'; expected one of held-out", Fails("eval", run, "--task", "x"));
        var inside = Run("eval", run, "--task", "inside", "--lengths", "300", "--trials", "1");
        Assert.True(inside.Code == 0, inside.Error);
        Assert.Contains("Attention mass on the needle", inside.Output);
        Assert.Contains("longest effective memory\t", inside.Output);
        Assert.Contains("Largest attention mass on the needle over training",
            Run("eval", run, "--task", "inside", "--checkpoints", "--lengths", "300", "--trials", "1").Output);
        Assert.Equal(ExitCode.Success, Run("eval", run, "--task", "passkey", "--lengths", "300", "400", "--trials", "1").Code);
        // before anything is measured
        var (code, output, error) = Run("eval", run, "--task", "passkey", "--lengths", "300", "--trials", "1", "--json", folder["none/x.json"]);
        Assert.Equal((ExitCode.Refused, ""), (code, output));
        Assert.Contains("expected a file in a folder that exists", error);
        Assert.Contains("expected --task inside alone", Fails("eval", run, "--task", "passkey", "--checkpoints"));
        Directory.CreateDirectory(folder["texts"]);
        foreach (var name in new[] { "a", "b", "c", "d", "e" }) File($"texts/{name}", name == "a" ? System.IO.File.ReadAllText(data) : "");
        Assert.Contains("texts: 4 files were not read: b (the file is empty or not UTF-8 text), c (the file is empty or not UTF-8 text), "
            + "d (the file is empty or not UTF-8 text) and 1 more",
            Run("eval", run, "--task", "held-out", "--data", folder["texts"], "--context", "32").Error);
    }

    void Generate(string run)
    {
        var written = Run("generate", run, "--prompt", "line", "--tokens", "4", "--seed", "1");
        Assert.StartsWith("line", written.Output);
        var (code, output, error) = Run("generate", run, "--prompt", "line", "--top-p", "7");
        Assert.Equal((ExitCode.Refused, ""), (code, output));
        Assert.StartsWith("--top-p is 7; expected", error);
        Assert.Equal(0, written.Code);
    }

    [Fact]
    public void A_transformer_becomes_a_hybrid_that_learns_from_it()
    {
        string data = Text(), hybrid = folder["hybrid"];
        Assert.Equal(0, Run("train", "TTT:width=16,heads=2,feed=16", "--data", data, "--folder", folder["teacher"], "--steps", "2", "--context", "32",
            "--batch", "2").Code);
        string[] Distill(int keep) => ["distill", folder["teacher"], "--keep", $"{keep}", "--data", data, "--folder", hybrid, "--steps", "2",
            "--context", "32", "--batch", "2", "--match-steps", "2"];
        Assert.Contains("--keep is 3; expected 0 to 2, fewer than the attention layers of the model.", Fails(Distill(3)));
        var (code, output, error) = Run(Distill(1));
        Assert.True(code == 0, error);
        Assert.Contains("| layer | mixer | without mixer |", output);
        Assert.Contains(" kept (", output);
        Assert.Contains("matching layers: 2 steps, 128 tokens; held-out loss", output);
        Assert.Contains("distilling: 2 steps, 128 tokens; held-out loss", output);
        Assert.DoesNotContain("matching layers", Run(Distill(1)).Output);       // complete already
        Assert.Equal(2, CheckpointOf(hybrid).Pattern.Count(letter => letter == 'M'));
    }

    static HybridDesign CheckpointOf(string run) =>
        HybridArchitectures.Checkpoints.Checkpoint.LoadDesign(Directory.GetDirectories(run, "step-*").Max(StringComparer.Ordinal)!);

    [Fact]
    public void A_sweep_runs_once_and_has_a_report()
    {
        string data = Text();
        File("sweep.json", $$"""
            {
              // comments are allowed
              "folder": {{System.Text.Json.JsonSerializer.Serialize(folder["sweep"])}},
              "designs": [ { "name": "attention", "design": "TT:width=16,heads=2,feed=64" },
                { "name": "mamba", "design": "MM:width=16,state=4,head=8,feed=64" } ],
              "seeds": [1, 2], "data": {{System.Text.Json.JsonSerializer.Serialize(data)}}, 
              "contextLength": 32, "batchSize": 2, "steps": 4, "matchParameters": true,
              "tasks": ["held-out"],
            }
            """);
        var first = Run("sweep", folder["sweep.json"]);
        Assert.True(first.Code == 0, first.Error);
        Assert.Contains("attention, seed 1", first.Output);
        Assert.Contains("design\tloss\tdifference", first.Output);
        var second = Run("sweep", folder["sweep.json"]);
        Assert.Equal(0, second.Code);
        Assert.DoesNotContain("seed 1:", second.Output);
        Assert.Equal(0, Run("report", folder["sweep"], "--title", "Two designs").Code);
        Assert.Contains("<h1>Two designs</h1>", System.IO.File.ReadAllText(Path.Combine(folder["sweep"], "report", "index.html")));
        Assert.Contains("\"designs\"", Run("sweep", "--schema").Output);
        var example = SweepFile.Read(File("example.json", SweepFile.Example));
        Assert.Equal(3, example.Designs.Count);
    }

    [Fact]
    public void Bench_measures_next_to_the_cost_model()
    {
        var (code, output, error) = Run("bench", Small, "--prompt-length", "16", "--total-length", "20");
        Assert.True(code == 0, error);
        string[] row = output.Trim().Split('\n')[^1].Split('\t');
        Assert.Equal(row[^4], row[^3]);
        Assert.True(long.Parse(row[^1]) > long.Parse(row[^3]));
        if (OperatingSystem.IsLinux()) Assert.True(long.Parse(row[^2]) >= 0);
    }
}
