using System.Diagnostics;
using System.Runtime.InteropServices;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Cost;

public partial class ActivationMemoryTests
{
    const string Alone = "HYBRID_TESTS_MEASURE_ACTIVATIONS";

    /// <summary>Runs itself in a separate process, in which no other code takes or returns memory.</summary>
    [Fact]
    public async Task Estimated_activations_are_within_a_tenth_of_the_saved_ones()
    {
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && NativeLibrary.TryLoad("libc.so.6", out nint c) && NativeLibrary.TryGetExport(c, "mallinfo2", out _),
            "the allocator is not that of the GNU C library 2.33 or later");
        if (Environment.GetEnvironmentVariable(Alone) is not null)
        {
            Measure();
            return;
        }
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "HybridArchitectures.Tests"),
            ["-noColor", "-method",
            $"*.{nameof(ActivationMemoryTests)}.{nameof(Estimated_activations_are_within_a_tenth_of_the_saved_ones)}"])
            {
                RedirectStandardOutput = true,
            };
        start.Environment[Alone] = "1";
        using var process = Process.Start(start)!;
        string said = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0 && said.Contains("Total: 1, Errors: 0, Failed: 0, Skipped: 0"), said);
    }

    static void Measure()
    {
        const int batch = 2, length = 512;
        var plain = HybridDesign.Create(256, 256).WithAttention(4, 2).WithSlidingWindow(128).WithMamba2(64, 32).WithMamba1()
            .WithMixer(new GatedDeltaSpec { KeyHeads = 4, ValueHeads = 8, KeyHeadSize = 32 }).WithMixer(new Rwkv7Spec { Heads = 4 })
            .WithIntraHybrid(new AttentionSpec { Heads = 4, Rotary = new() }, new Mamba2Spec { HeadSize = 64, GatedNorm = false, StateSize = 64 });
        var sharing = plain.WithSharedTransformers(new() { Attention = new() { Heads = 4, Rotary = new() }, FeedForward = new(512) }, 2, 16, 16);
        Held(plain.Pattern("TM").Build(), 1, 64);    // what is made once
        var wrong = new List<string>();
        // every kind of block has a part in these; a full run measures each kind alone
        string[] everyday = ["TSMmHGW", "M+M+M+M+M+M+"];
        string[] full = ["TTTTTT", "SSSSSS", "MMMMMM", "mmmmmm", "HHHHHH", "GGGGGG", "WWWWWW", "M+M+M+M+M+M+", "------"];
        foreach (string pattern in Effort.Choose(everyday, full))
        {
            var design = (pattern[0] == '-' ? plain.WithFeedForward(FeedForwardSpec.SwiGlu(768)) : pattern.Contains('+') ? sharing : plain)
                .Pattern(pattern).Build();
            Compare(pattern, () => Held(design, batch, length),
                design.Cost(length).TrainingMemory(batch, elementSize: 4, device: DeviceType.CPU).Activations);
            Compare($"{pattern} with checkpointing", () => HeldWithCheckpointing(design, batch, length),
                design.Cost(length).TrainingMemory(batch, elementSize: 4, checkpointing: true, DeviceType.CPU).Activations);
        }
        // copies of weights are saved too
        var narrow = plain.WithFeedForward(FeedForwardSpec.SwiGlu(512)).Pattern("TMmHTM").Build();
        var estimate = narrow.Cost(length).TrainingMemory(batch, elementSize: 2, device: DeviceType.CPU);
        Held(narrow, 1, 64, ScalarType.BFloat16);
        Compare("TMmHTM in bfloat16", () => Held(narrow, batch, length, ScalarType.BFloat16), estimate.Activations + estimate.WeightCopies);
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));

        // the runtime's own threads take and return memory of the same allocator, so a measurement that differs is repeated
        void Compare(string what, Func<long> measure, double estimated)
        {
            var held = new List<double>();
            do held.Add(measure());
            while (Math.Abs(estimated / held[^1] - 1) > 0.1 && held.Count < 3);
            if (Math.Abs(estimated / held[^1] - 1) > 0.1)
                wrong.Add($"{what}: {estimated / 1e6:0.0} MB estimated, {string.Join(", ", held.Select(value => $"{value / 1e6:0.0}"))} MB held");
        }
    }

    /// <summary>Returns the memory that is held in the backward pass when its first block, the last of the model, has been computed again.</summary>
    static long HeldWithCheckpointing(HybridDesign design, int batch, int length)
    {
        using var scope = NewDisposeScope();
        using var model = design.CreateModel(seed: 1);
        model.Stack.ActivationCheckpointing = true;
        var ids = zeros([batch, length], ScalarType.Int64);
        using var gradient = ones([batch, length, design.Width]);
        long before = Allocated(), held = 0;
        model.Stack.BlockRecomputed = () =>
        {
            if (held == 0) held = Allocated() - before;
        };
        using var hidden = model.Hidden(ids);
        Autograd.Backward([hidden], [gradient]);
        return held;
    }

    static long Held(HybridDesign design, int batch, int length, ScalarType type = ScalarType.Float32)
    {
        using var scope = NewDisposeScope();
        using var model = design.CreateModel(type, seed: 1);
        var ids = zeros([batch, length], ScalarType.Int64);
        long before = Allocated();
        using var hidden = model.Hidden(ids);
        return Allocated() - before;
    }

    // Returns the allocated memory, in all arenas and mappings. Tensors that only wait for their finalizers are freed first.
    static long Allocated()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        var info = Query();
        return (long)(info.UsedInArenas + info.Mapped);
    }

    [LibraryImport("libc.so.6", EntryPoint = "mallinfo2")]
    private static partial AllocatorInfo Query();

    /// <summary>Contains the mallinfo2 of the GNU C library: numbers of bytes and blocks.</summary>
    readonly record struct AllocatorInfo(
        nuint Arenas, nuint FreeBlocks, nuint FastBlocks, nuint Mappings, nuint Mapped, nuint Highest, nuint Fast, nuint UsedInArenas, nuint Free,
        nuint Top);
}
