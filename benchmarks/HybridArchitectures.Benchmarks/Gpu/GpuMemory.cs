using System.Diagnostics;
using System.Text.Json;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures the peak device memory of an operator. The allocator of libtorch keeps memory that it has once taken, so this is measured in a process in
/// which it keeps nothing: each tensor is an allocation of the driver, and is released when it is freed. The free memory of the GPU is polled without
/// pause. It shows the memory in use in steps of 2 MB.
/// </summary>
static class GpuMemory
{
    public sealed record Line(string op, string shape, string dtype, long peak_bytes);

    static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    /// <summary>Measures in a separate process.</summary>
    public static IReadOnlyList<Line> Run(string? filter, bool tiny, Action<string> report)
    {
        var program = Environment.ProcessPath!;
        var start = new ProcessStartInfo(program);
        if (Path.GetFileNameWithoutExtension(program) == "dotnet") start.ArgumentList.Add(typeof(GpuMemory).Assembly.Location);
        start.ArgumentList.Add("gpu-memory");
        start.ArgumentList.Add("--operators");
        if (filter is not null) { start.ArgumentList.Add("--filter"); start.ArgumentList.Add(filter); }
        if (tiny) start.ArgumentList.Add("--tiny");
        start.Environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1";
        return JsonLines.FromProcess<Line>(start, "memory", Patience, report);
    }

    /// <summary>Measures here and prints.</summary>
    public static int Print(string? filter, bool tiny, Device device)
    {
        var clock = device.type == DeviceType.CUDA ? new CudaClock() : null;
        if (clock is not null && Environment.GetEnvironmentVariable("PYTORCH_NO_CUDA_MEMORY_CACHING") != "1")
            throw new ArgumentException("PYTORCH_NO_CUDA_MEMORY_CACHING is not 1: what libtorch's allocator keeps would be counted as held");
        foreach (var one in GpuCases.Matching(filter, tiny))
        {
            try
            {
                Console.WriteLine(JsonSerializer.Serialize(new Line(one.Op, one.Shape, one.TypeName, Measure(one, device, clock)), GpuOps.Json));
            }
            catch (System.Runtime.InteropServices.ExternalException e)
            {
                Console.WriteLine($"{one.Op}, {one.Shape}, {one.TypeName}: {e.Message.Split('\n')[0]}");
            }
        }
        return 0;
    }

    static long Measure(GpuCase one, Device device, CudaClock? clock)
    {
        manual_seed(0);
        using var inputs = new GpuInputs(device, one.Type);
        var call = one.Prepare(inputs);
        // libraries make their own memory at the first call
        Once(one, inputs, call, null);
        if (clock is null) return 0;
        // gradients that went to libtorch last are held until the next ones do
        using (NewDisposeScope())
            Autograd.Backward(Autograd.Apply(
            [ones(1, device: device).requires_grad_()], static _ => [ones(1, device: CUDA)], static context => [context.Gradients[0]])[0]);
        cuda.synchronize();
        long before = clock.FreeBytes, minFreeBytes = before;
        bool done = false;
        nint context = clock.Context;
        var watch = new Thread(() =>
        {
            clock.Context = context;
            while (!Volatile.Read(ref done)) minFreeBytes = Math.Min(minFreeBytes, clock.FreeBytes);
        });
        watch.Start();
        long results;
        try
        {
            results = Once(one, inputs, call, () => cuda.synchronize());
        }
        finally
        {
            Volatile.Write(ref done, true);
            watch.Join();
        }
        return Math.Max(0, before - minFreeBytes - results);
    }

    /// <summary>Runs a case, and returns the bytes of the result and of all gradients.</summary>
    static long Once(GpuCase one, GpuInputs inputs, Func<Tensor> call, Action? atEnd)
    {
        using var scope = NewDisposeScope();
        Tensor output;
        if (one.Differentiates)
        {
            output = call();
            Autograd.Backward(output, ones_like(output));
        }
        else
        {
            using var noGrad = no_grad();
            output = call();
        }
        atEnd?.Invoke();
        long bytes = Bytes(output) * (one.Differentiates ? 2 : 1) + inputs.Leaves.Sum(leaf => leaf.grad is { } gradient ? Bytes(gradient) : 0);
        inputs.ForgetGradients();
        return bytes;
    }

    static long Bytes(Tensor tensor) => tensor.NumberOfElements * tensor.ElementSize;
}
