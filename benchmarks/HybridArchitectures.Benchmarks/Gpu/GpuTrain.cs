using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures training steps of a 1B model on random tokens: forward, backward and AdamW, with bfloat16 activations and float32 parameters, without
/// activation checkpointing.
/// </summary>
static class GpuTrain
{
    const int WarmSteps = 2, Steps = 5;

    /// <summary>Measures and prints; 0.</summary>
    public static int Run(string pattern, int batch, bool tiny, Device device)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        int length = tiny ? 128 : 8192;
        var design = Design(pattern, tiny);
        using var scope = NewDisposeScope();
        using var model = design.CreateModel(ScalarType.BFloat16, device, seed: 1);
        using var optimizer = new AdamW(model.AllParameters());
        var ids = randint(design.VocabularySize, [batch, length], ScalarType.Int64, device);
        var times = new List<double>();
        for (int step = 0; step < WarmSteps + Steps; step++)
        {
            if (device.type == DeviceType.CUDA) cuda.synchronize();
            var watch = Stopwatch.StartNew();
            using (NewDisposeScope())
            {
                Autograd.Backward(model.Loss(ids, ids).Total);
                optimizer.Step(1e-4).Dispose();
                model.AfterStep();
            }
            if (device.type == DeviceType.CUDA) cuda.synchronize();
            if (step >= WarmSteps) times.Add(watch.Elapsed.TotalMilliseconds);
        }
        times.Sort();
        double median = times[times.Count / 2];
        Console.WriteLine($"{design.Pattern}, {batch} x {length} tokens: {median:N1} ms per step, {1e3 * batch * length / median:N0} tokens/s");
        return 0;
    }

    static HybridDesign Design(string pattern, bool tiny)
    {
        int width = tiny ? 128 : 2048, heads = width / 64;
        return HybridDesign.Create(width, tiny ? 512 : 128_256).WithAttention(heads, Math.Max(1, heads / 4)).WithMamba2(128, 128)
            .WithMixer(new GatedDeltaSpec { KeyHeads = heads / 2, ValueHeads = heads, KeyHeadSize = tiny ? 64 : 128 })
            .WithFeedForward(FeedForwardSpec.SwiGlu(4 * width)).Pattern(pattern).Build();
    }
}
