using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cli.Commands;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests;
using TorchSharp;
using static HybridArchitectures.Cli.Tests.CommandLine;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Tests;

public sealed class DeviceFlagTests : IDisposable
{
    const string Small = "MT:width=16,heads=2,state=4,head=8,feed=16";

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static string[][] Commands(string data, string run) =>
    [
        ["train", Small, "--data", data, "--folder", run, "--steps", "2"],
        ["eval", run, "--task", "held-out", "--data", data],
        ["generate", run, "--prompt", "x"],
        ["chat", run],
        ["distill", run, "--data", data, "--folder", run + "-2", "--keep", "0", "--steps", "2"],
        ["bench", Small],
    ];

    [Fact]
    public void The_default_is_a_GPU_if_one_can_be_used()
    {
        Assert.All(CommandTree.Create().Subcommands.Where(command => command.Options.Any(option => option.Name == "--device")), command =>
            Assert.Equal("auto", command.Parse([]).GetValue<string>("--device")));
        static (DeviceType, ScalarType) Place(string name, string? obstacle) =>
            ModelPlace.Parse(name, "--device", () => obstacle) is var place ? (place.Device.type, place.Compute) : default;
        Assert.Equal((DeviceType.CUDA, ScalarType.BFloat16), Place("auto", null));
        Assert.Equal((DeviceType.CUDA, ScalarType.BFloat16), Place("cuda", null));
        Assert.Equal((DeviceType.CPU, ScalarType.Float32), Place("auto", "there is none"));
        Assert.Equal((DeviceType.CPU, ScalarType.Float32), Place("cpu", null));
        Assert.Equal("--device is \"cuda\"; expected cpu, because there is none.",
            GuardedCommand.OneLine(Assert.Throws<ArgumentException>(() => Place("cuda", "there is none"))));
    }

    [Fact]
    public void Other_devices_are_refused_before_any_work() => Assert.All(Commands(folder["none"], folder["run"]), command =>
    {
        foreach (string name in (string[])["tpu", "CUDA", ""])
            Assert.Equal($"--device is \"{name}\"; expected auto, cpu or cuda.", Fails([.. command, "--device", name]).Trim());
    });

    [Fact]
    public void A_GPU_that_is_not_there_is_one_line_with_the_remedy()
    {
        Assert.SkipWhen(cuda.is_available(), "this machine has a GPU");
        Assert.All(Commands(folder["none"], folder["run"]), command =>
        {
            string error = Fails([.. command, "--device", "cuda"]);
            Assert.StartsWith("--device is \"cuda\"; expected cpu, because ", error);
            Assert.Matches("TorchBackend=cuda|nvidia-smi", error);
        });
    }

    [Fact]
    public void A_run_says_its_device_and_keeps_its_precision()
    {
        string data = SmallText(folder);
        string[] Train(string run, int steps) => ["train", Small, "--data", data, "--folder", folder[run], "--context", "32", "--batch", "2",
            "--device", "cpu", "--steps", $"{steps}"];
        Assert.StartsWith("training on cpu, float32 activations", Succeeds(Train("run", 2)));
        // as a GPU begins it
        using (var text = TextData.Load(data, null))
        using (var model = DesignArgument.Parse(Small).CreateModel(ScalarType.BFloat16, seed: 1))
        using (var trainer = new Trainer(model, text.Training, new()
        {
            LearningRate = 1e-3, ContextLength = 32, BatchSize = 2, Duration = Duration.Steps(2), Seed = 1, Folder = folder["begun"],
        })) trainer.Run();
        Assert.Contains("training on cpu, bfloat16 activations", Succeeds(Train("begun", 3)));
    }

    string SweepText(string device) => $$"""
        { "folder": {{System.Text.Json.JsonSerializer.Serialize(folder["sweep"])}}, "seeds": [1],
          "designs": [ { "name": "a", "design": "{{Small}}" } ],
          "data": {{System.Text.Json.JsonSerializer.Serialize(SmallText(folder))}}, "contextLength": 32, "batchSize": 2, "steps": 2,
          "device": "{{device}}" }
        """;

    SweepFile ReadSweep(string device)
    {
        File.WriteAllText(folder["sweep.json"], SweepText(device));
        return SweepFile.Read(folder["sweep.json"]);
    }

    [Fact]
    public void A_sweep_has_a_device_and_stays_on_it()
    {
        ReadSweep("tpu");
        Assert.Equal("device is \"tpu\"; expected auto, cpu or cuda.", Fails("sweep", folder["sweep.json"]).Trim());
        Assert.Equal("auto", SweepFile.Read(Written("example.json", SweepFile.Example)).Device);
        ReadSweep("cpu");
        Assert.Contains("training on cpu, float32 activations", Succeeds("sweep", folder["sweep.json"]));
        Assert.Equal(ModelPlace.Cpu, ReadSweep("auto").Place() with { Device = ModelPlace.Cpu.Device });
        Assert.DoesNotContain("training on", Succeeds("sweep", folder["sweep.json"]));       // complete
        string settings = Directory.GetFiles(folder["sweep"], "run.json", SearchOption.AllDirectories).Single();
        File.WriteAllText(settings, File.ReadAllText(settings).Replace("\"cpu\"", "\"cuda\""));
        Assert.Equal("cuda", Sweep.Read(folder["sweep"]).Runs.Single().Settings.Environment.Device);
        if (!cuda.is_available())
            Assert.StartsWith($"device of the runs in '{folder["sweep"]}' is \"cuda\"; expected cpu, because ", Fails("sweep", folder["sweep.json"]));
    }

    string Written(string name, string text)
    {
        File.WriteAllText(folder[name], text);
        return folder[name];
    }

    [Fact]
    public void Weights_in_the_dtype_of_activations_change_no_output()
    {
        using (var model = DesignArgument.Parse(Small).CreateModel(seed: 3)) Checkpoint.Save(model, folder["model"]);
        var place = ModelPlace.Cpu with { Compute = ScalarType.BFloat16 };
        using var kept = LoadedModel.Open(folder["model"], place: place, isTrained: true);
        using var cast = LoadedModel.Open(folder["model"], place: place);
        Assert.Equal((ScalarType.Float32, ScalarType.BFloat16), (kept.Model.WeightType, cast.Model.WeightType));
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var ids = tensor(Enumerable.Range(0, 40).Select(id => (long)id).ToArray()).unsqueeze(0);
        Assert.True(kept.Model.Forward(ids).equal(cast.Model.Forward(ids)).all().item<bool>());
    }

    [Fact]
    public void Every_task_runs_with_the_precision_of_a_GPU()
    {
        using (var model = DesignArgument.Parse(Small).CreateModel(seed: 3)) Checkpoint.Save(model, folder["model"]);
        using var loaded = LoadedModel.Open(folder["model"], place: ModelPlace.Cpu with { Compute = ScalarType.BFloat16 });
        using var text = TextData.Load(SmallText(folder), null);
        var settings = new TaskSettings(64, [300], 1, text.HeldOut, folder["data.txt"], () => loaded.Tokenizer);
        string[] names = ["held-out", "position", "document", "needle", "passkey", "induction", "phonebook", "parity", "inference", "inside"];
        foreach (var task in names.SelectMany(name => TaskArgument.Parse(name, settings))) Assert.NotEmpty(task.Run(loaded.Model).Metrics);
    }
}
