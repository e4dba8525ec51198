using System.Text.Json.Nodes;
using HybridArchitectures.Training.Tests;
using static HybridArchitectures.Cli.Tests.CommandLine;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Tests;

/// <summary>Runs the commands on a GPU.</summary>
[Trait("device", "cuda")]
public sealed class DeviceTests : IDisposable
{
    const string Design = "MT:width=64,heads=2,state=16,head=16,feed=64";

    // activations are rounded to 8 bits; the loss is a mean over thousands of tokens
    const double LossTolerance = 0.02;

    readonly TemporaryFolder folder = new();

    public DeviceTests() => Assert.SkipUnless(cuda.is_available(), "no CUDA device: no command was run on a GPU");

    public void Dispose() => folder.Dispose();

    string[] Train(string run, string device, int steps) =>
        ["train", Design, "--data", SmallText(folder), "--folder", folder[run], "--context", "64", "--batch", "4",
            "--steps", $"{steps}", "--device", device];

    double Loss(string run, string device)
    {
        Succeeds("eval", folder[run], "--task", "held-out", "--data", folder["data.txt"], "--context", "64", "--json", folder["loss.json"],
            "--device", device);
        var metrics = JsonNode.Parse(File.ReadAllText(folder["loss.json"]))![0]!["metrics"]!.AsArray();
        return metrics.Single(metric => (string)metric!["name"]! == "loss")!["value"]!.GetValue<double>();
    }

    [Fact]
    public void A_run_on_a_GPU_is_measured_there_and_on_the_CPU_and_continues_on_either()
    {
        Assert.StartsWith("training on cuda, bfloat16 activations", Succeeds(Train("run", "auto", 20)));
        Assert.Equal(Loss("run", "cpu"), Loss("run", "cuda"), LossTolerance);
        Assert.Contains("training on cpu, bfloat16 activations", Succeeds(Train("run", "cpu", 22)));
        Assert.Contains("training on cuda, bfloat16 activations", Succeeds(Train("run", "cuda", 40)));
        Assert.Equal(Loss("run", "cpu"), Loss("run", "auto"), LossTolerance);
    }

    [Fact]
    public void A_run_on_the_CPU_continues_on_a_GPU_with_its_precision()
    {
        Assert.StartsWith("training on cpu, float32 activations", Succeeds(Train("run", "cpu", 20)));
        Assert.Equal(Loss("run", "cpu"), Loss("run", "cuda"), LossTolerance);
        Assert.Contains("training on cuda, float32 activations", Succeeds(Train("run", "cuda", 40)));
        Assert.Equal(Loss("run", "cpu"), Loss("run", "cuda"), LossTolerance);
    }

    [Fact]
    public void Runs_on_a_GPU_and_on_the_CPU_learn_the_same()
    {
        Succeeds(Train("gpu", "cuda", 60));
        Succeeds(Train("cpu", "cpu", 60));
        Assert.Equal(Loss("cpu", "cpu"), Loss("gpu", "cpu"), 0.1);         // of 5.5 at the start; roundings add up over the steps
    }

    [Fact]
    public void A_model_on_a_GPU_generates_answers_and_is_measured_by_every_task()
    {
        Succeeds(Train("run", "cuda", 40));
        string[] generate = ["generate", folder["run"], "--prompt", "line 1 of", "--tokens", "24", "--temperature", "0", "--device", "cuda"];
        string text = Succeeds(generate);
        Assert.StartsWith("line 1 of", text);
        Assert.Equal(text, Succeeds(generate));
        var input = Console.In;
        Console.SetIn(new StringReader("line 2\n\n"));
        try
        {
            Assert.NotEmpty(Succeeds("chat", folder["run"], "--tokens", "8", "--seed", "1", "--device", "cuda"));
        }
        finally
        {
            Console.SetIn(input);
        }
        string[] tasks = ["position", "document", "needle", "passkey", "induction", "phonebook", "parity", "inference", "inside"];
        Succeeds(["eval", folder["run"], "--data", folder["data.txt"], "--context", "64", "--lengths", "300", "--trials", "1", "--device", "cuda",
            .. tasks.SelectMany(task => (string[])["--task", task])]);
        Succeeds("eval", folder["run"], "--task", "inside", "--checkpoints", "--lengths", "300", "--trials", "1", "--device", "cuda");
        Succeeds("bench", Design, "--prompt-length", "64", "--total-length", "96", "--device", "cuda");
    }

    [Fact]
    public void A_model_is_distilled_on_a_GPU()
    {
        Succeeds([.. Train("teacher", "cuda", 10).Select(word => word == Design ? "TT:width=64,heads=2,feed=64" : word)]);
        string[] distill = ["distill", folder["teacher"], "--keep", "1", "--data", folder["data.txt"], "--folder", folder["hybrid"], "--steps", "4",
            "--context", "64", "--batch", "4", "--match-steps", "4", "--device", "cuda"];
        Assert.Contains("distilling: 4 steps", Succeeds(distill));
        Assert.True(double.IsFinite(Loss("hybrid", "cpu")));
    }

    [Fact]
    public void A_sweep_trains_on_a_GPU_and_stays_there()
    {
        string data = SmallText(folder);
        void Write(string device) => File.WriteAllText(folder["sweep.yaml"], string.Join('\n', $"folder: {folder["sweep"]}", $"data: {data}",
            "designs:", "  - name: hybrid", $"    design: \"{Design}\"", "seeds: [1]", "contextLength: 64", "batchSize: 4", "steps: 10",
            $"device: {device}"));
        Write("cuda");
        Assert.Contains("training on cuda, bfloat16 activations", Succeeds("sweep", folder["sweep.yaml"]));
        Write("auto");
        Assert.DoesNotContain("training on", Succeeds("sweep", folder["sweep.yaml"]));
    }
}
