using System.Globalization;
using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using static TorchSharp.torch;
using static HybridArchitectures.Conformance.ConformanceError;

namespace HybridArchitectures.Conformance;

/// <summary>Compares the load-balancing losses of routers over several layers, with and without masks, and their gradients.</summary>
static class ConformanceBalance
{
    const double Tolerance = 1e-6;

    public static bool Is(string folder)
    {
        string path = Path.Combine(folder, "cases.safetensors");
        if (!File.Exists(path)) return false;
        using var file = SafetensorsFile.Open(path);
        return file.Contains("0.logits.0");
    }

    public static IEnumerable<ConformanceResult> Run(string folder, Device device)
    {
        string name = Path.GetFileName(folder);
        using var notes = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "notes.json")));
        using var file = SafetensorsFile.Open(Path.Combine(folder, "cases.safetensors"));
        var cases = notes.RootElement.GetProperty("cases").EnumerateArray().ToArray();
        var results = new List<ConformanceResult>();
        for (int i = 0; i < cases.Length; i++)
        {
            var (one, prefix) = (cases[i], i.ToString(CultureInfo.InvariantCulture));
            int layers = one.GetProperty("layers").GetInt32(), top = one.GetProperty("top_k").GetInt32();
            Tensor[]? logits = null;
            results.Add(ConformanceRunner.Try(name, $"{prefix}.loss", Tolerance, () =>
            {
                logits = [.. Enumerable.Range(0, layers)
                    .Select(layer => file.Read($"{prefix}.logits.{layer}", device: device).requires_grad_().DetachFromDisposeScope())];
                var loss = LoadBalance.Loss(logits, top, file.Contains($"{prefix}.mask") ? file.Read($"{prefix}.mask", device: device) : null);
                Autograd.Backward(loss);
                return Difference(file.Read($"{prefix}.loss").view(1), loss.view(1));
            }));
            results.Add(ConformanceRunner.Try(name, $"{prefix}.gradients", Tolerance, () =>
                Largest(logits!.Select((layer, index) => Difference(file.Read($"{prefix}.grad.{index}"), layer.grad!)).ToArray())));
            foreach (var layer in logits ?? []) layer.Dispose();
        }
        return results;
    }
}
