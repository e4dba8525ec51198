using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>
/// Writes the checkpoints of cases anew, so that the reference can be asked whether it reads them (<c>check_written.py</c>): a folder each, without
/// any setting taken over from the case, in several files, and beside it <c>NAME.logits.safetensors</c> with ids, this library's logits for them, and
/// how far off others may be.
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
