using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Prints the measured memory of training next to the estimate of the cost model. "State" is parameters, gradients, the moments of the optimizer and
/// its copies of weights. "Activations" is what the blocks save at the end of a forward pass, including other copies of weights; with checkpointing,
/// it is the maximum when a block has been computed again. "With loss" adds what the loss saves. "All" is the sum of state and "with loss". "Peak" is
/// the maximum of a whole pass, for which there is no estimate.
/// </summary>
static class TrainingMemoryTable
{
    const double Allowed = 0.1;

    /// <summary>Runs in a separate process.</summary>
    public static int Run(string[] arguments)
    {
        var program = Environment.ProcessPath!;
        var start = new ProcessStartInfo(program);
        if (Path.GetFileNameWithoutExtension(program) == "dotnet") start.ArgumentList.Add(typeof(TrainingMemoryTable).Assembly.Location);
        foreach (var argument in arguments) start.ArgumentList.Add(argument);
        foreach (var (name, value) in HeldMemory.Variables) start.Environment[name] = value;
        using var process = Process.Start(start)!;
        process.WaitForExit();
        return process.ExitCode;
    }

    /// <summary>Measures here and prints; 1 if an estimate is off by more than a tenth.</summary>
    public static int Print(string? filter, bool tiny, Device device, ScalarType type)
    {
        var cases = TrainingMemoryCase.All(tiny).Where(one => filter is null || one.Name.Contains(filter, StringComparison.OrdinalIgnoreCase))
            .ToArray();
        if (cases.Length == 0)
            throw new ArgumentException(
            $"no design is called '{filter}'; there are {string.Join(", ", TrainingMemoryCase.All(tiny).Select(one => one.Name))}");
        var memory = new HeldMemory(device);
        int off = 0;
        Console.WriteLine($"| design, {type.ToString().ToLowerInvariant()} | checkpointing | of | estimated MB | measured MB | ratio |");
        Console.WriteLine("| --- | --- | --- | ---: | ---: | ---: |");
        foreach (var one in cases)
        {
            foreach (bool checkpointing in (bool[])[false, true])
            {
                try
                {
                    off += Measure(one, checkpointing, memory, device, type);
                }
                catch (System.Runtime.InteropServices.ExternalException e)
                {
                    Console.WriteLine($"{one.Name}: {e.Message.Split('\n')[0]}");
                    off++;
                }
            }
        }
        Console.WriteLine(off == 0 ? "all within a tenth" : $"{off} off by more than a tenth");
        return off == 0 ? 0 : 1;
    }

    // what libraries make once for these sizes
    static void Warm(TrainingMemoryCase one, bool checkpointing, Tensor ids, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var model = one.Design.CreateModel(type, ids.device, seed: 1);
        model.Stack.ActivationCheckpointing = checkpointing;
        using var optimizer = new AdamW(model.AllParameters()) { KeepsCopies = !checkpointing };
        Pass(model, ids);
        optimizer.Step(1e-3).Dispose();
        Pass(model, ids);
    }

    static int Measure(TrainingMemoryCase one, bool checkpointing, HeldMemory memory, Device device, ScalarType type)
    {
        using var scope = NewDisposeScope();
        int off = 0;
        var estimate = one.Design.Cost(one.Length).TrainingMemory(one.Batch, (int)type.ElementSize(), checkpointing, device.type)
            .WithSummedGradients();
        var ids = randint(one.Design.VocabularySize, [one.Batch, one.Length], ScalarType.Int64, device);
        Warm(one, checkpointing, ids, type);
        long empty = memory.Now();
        using var model = one.Design.CreateModel(type, device, seed: 1);
        model.Stack.ActivationCheckpointing = checkpointing;
        using var optimizer = new AdamW(model.AllParameters()) { KeepsCopies = !checkpointing };
        Pass(model, ids);
        optimizer.Step(1e-3).Dispose();
        model.AfterStep();
        Pass(model, ids);
        long state = memory.Now();
        long copies = estimate.WeightCopies - estimate.KeptCopies;
        Line("state", estimate.Parameters + estimate.Gradients + estimate.Optimizer + estimate.KeptCopies, state - empty);
        long kept = OfActivations(model, ids, checkpointing, memory);
        Line("activations", estimate.Activations + copies, kept - state);
        if (!checkpointing)
        {
            kept = WithLoss(model, ids, memory);
            Line("with loss", estimate.Activations + copies + estimate.Loss, kept - state);
        }
        Line("all", estimate.Total - (checkpointing ? estimate.Loss : 0), kept - empty);
        long peak = memory.Most(() => Pass(model, ids));
        if (peak != 0) Console.WriteLine(Row("peak", estimate.Total, peak - empty));
        return off;

        void Line(string what, long estimated, long measured)
        {
            Console.WriteLine(Row(what, estimated, measured));
            if (Math.Abs((double)estimated / measured - 1) > Allowed) off++;
        }
        string Row(string what, long estimated, long measured) => TableRow(one, checkpointing, what, estimated, measured);
    }

    static string TableRow(TrainingMemoryCase one, bool checkpointing, string what, long estimated, long measured) =>
        string.Create(CultureInfo.InvariantCulture,
            $"| {one.Name}, {one.Design.Pattern} | {(checkpointing ? "yes" : "no")} | {what} | {estimated / 1e6:N1} | {measured / 1e6:N1} | "
            + $"{(double)estimated / measured:N3} |");

    /// <summary>Returns the memory while the activations of a forward pass, or of a block that is computed again, are saved.</summary>
    static long OfActivations(HybridLanguageModel model, Tensor ids, bool checkpointing, HeldMemory memory)
    {
        using var scope = NewDisposeScope();
        long held = long.MinValue;
        model.Stack.BlockRecomputed = checkpointing ? () => held = Math.Max(held, memory.Now()) : null;
        var hidden = model.Hidden(ids);
        if (checkpointing) Autograd.Backward([hidden], [ones_like(hidden)]);
        else held = memory.Now();
        model.Stack.BlockRecomputed = null;
        return held;
    }

    static long WithLoss(HybridLanguageModel model, Tensor ids, HeldMemory memory)
    {
        using var scope = NewDisposeScope();
        var loss = model.Loss(ids, ids);
        long kept = memory.Now();
        GC.KeepAlive(loss);
        return kept;
    }

    static void Pass(HybridLanguageModel model, Tensor ids)
    {
        using var scope = NewDisposeScope();
        Autograd.Backward(model.Loss(ids, ids).Total);
    }
}
