using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>
/// Writes the checkpoints of cases again, to check that the reference reads them (<c>check_written.py</c>). Each has a folder
/// with several files, without any setting of the case, and next to it <c>NAME.logits.safetensors</c> with ids, this library's logits for them, and
/// the tolerance.
/// </summary>
static class ConformanceExport
{
    const int ShardBytes = 60_000;

    public static int Run(string root, string target)
    {
        Directory.CreateDirectory(target);
        int written = 0;
        foreach (string folder in ConformanceRunner.Find(root).Where(ConformanceCase.Is))
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            using var one = new ConformanceCase(folder, CPU);
            using var model = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
            string place = Path.Combine(target, one.Name), family = PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType;
            PretrainedModel.Save(model, place, family, new() { ShardBytes = ShardBytes });
            var ids = one.LongestIds();
            SafetensorsFile.Write(place + ".logits.safetensors", new Dictionary<string, Tensor>
            {
                ["ids"] = ids, ["logits"] = model.Forward(ids), ["tolerance"] = tensor([(float)one.Tolerance("logits_abs")]),
            });
            Console.WriteLine($"{one.Name} {family}");
            written++;
        }
        Console.WriteLine($"{written} written");
        return written > 0 ? 0 : 1;
    }
}
