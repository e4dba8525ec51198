using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>
/// Exchanges adapters with PEFT (<c>check_adapters.py</c>). <see cref="Export"/> writes a folder for each family. It contains <c>base</c>, a
/// checkpoint; <c>adapter</c>, its adapters; and <c>adapted.safetensors</c> with ids, the logits of this library for them, and the tolerance. PEFT
/// reads these, and writes its own adapters, <c>peft</c>, with its logits, <c>peft.safetensors</c>. <see cref="Read"/> compares them.
/// </summary>
static class ConformanceAdapters
{
    const string Adapted = "adapted.safetensors", Foreign = "peft.safetensors";
    const double Spread = 0.05;

    static readonly string[] names =
    [
        "llama", "granite_dense", "mamba", "mamba2", "falcon_mamba", "bamba", "falcon_h1_norm_before", "lfm2",
    ];

    // PEFT refuses the output projections of these, and the fast path of transformers reads the weight of the time steps past its adapter
    static readonly HashSet<string> withoutOutput = ["mamba", "mamba2", "falcon_mamba", "falcon_h1"];

    static bool IsExchanged(string family, string weight) => !withoutOutput.Contains(family)
        || !(weight.EndsWith("output.weight", StringComparison.Ordinal) || weight.EndsWith("dt_weight", StringComparison.Ordinal));

    public static int Export(string root, string target)
    {
        Directory.CreateDirectory(target);
        int written = 0;
        foreach (string folder in ConformanceRunner.Find(root).Where(path => ConformanceCase.Is(path) && names.Contains(Path.GetFileName(path))))
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            using var one = new ConformanceCase(folder, CPU);
            using var model = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
            string family = PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType, place = Path.Combine(target, one.Name);
            Directory.CreateDirectory(place);
            PretrainedModel.Save(model, Path.Combine(place, "base"), family);
            using var adapters = LoraAdapters.Attach(model, new()
            {
                Rank = 3, Alpha = 5, Targets = LoraTargets.Attention | LoraTargets.StateSpace | LoraTargets.FeedForward,
                Only = name => IsExchanged(family, name),
            });
            manual_seed(7);
            foreach (var parameter in model.Parameters) parameter.Value.add_(randn_like(parameter.Value).mul_(Scalars.From(Spread)), Scalars.One);
            model.eval();
            PeftAdapters.Save(adapters, Path.Combine(place, "adapter"), family);
            var ids = one.LongestIds();
            SafetensorsFile.Write(Path.Combine(place, Adapted), new Dictionary<string, Tensor>
            {
                ["ids"] = ids, ["logits"] = model.Forward(ids), ["tolerance"] = tensor([(float)one.Tolerance("logits_abs")]),
            });
            Console.WriteLine($"{one.Name} {family}: {adapters.Weights.Count} weights");
            written++;
        }
        Console.WriteLine($"{written} written");
        return written == names.Length ? 0 : 1;
    }

    public static int Read(string root)
    {
        int read = 0, passed = 0;
        foreach (string place in Directory.GetDirectories(root).Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileName(place);
            read++;
            try
            {
                var (error, tolerance) = Compare(place);
                Console.WriteLine(FormattableString.Invariant($"{name} {error:g3} {tolerance:g3} {(error <= tolerance ? "pass" : "fail")}"));
                if (error <= tolerance) passed++;
            }
            catch (Exception error) when (error is IOException or InvalidDataException or ArgumentException)
            {
                Console.WriteLine($"{name} fail {error.Message}");
            }
        }
        Console.WriteLine($"{passed} of {read} folders of PEFT read right");
        return read > 0 && passed == read ? 0 : 1;
    }

    static (double Error, double Tolerance) Compare(string place)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        string source = Path.Combine(place, "base");
        using var own = SafetensorsFile.Open(Path.Combine(place, Adapted));
        using var recorded = SafetensorsFile.Open(Path.Combine(place, Foreign));
        using var model = PretrainedModel.Load(source, options: ConformanceCase.AsRecorded);
        string family = PretrainedConfig.Read(Path.Combine(source, "config.json")).ModelType;
        using var adapters = PeftAdapters.Load(model, Path.Combine(place, "peft"), family);
        model.eval();
        var logits = recorded.Read("logits");
        if (logits.sub(own.Read("logits")).abs().max().item<float>() < 1e-3) throw new InvalidDataException("PEFT's adapters change nothing");
        return (ConformanceError.Difference(logits, model.Forward(own.Read("ids"))), own.Read("tolerance").item<float>());
    }
}
