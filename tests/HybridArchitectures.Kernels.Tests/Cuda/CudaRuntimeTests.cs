using System.Collections.Concurrent;
using System.Diagnostics.Tracing;
using System.Globalization;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

public class CudaRuntimeTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("images").FullName;

    public void Dispose() => Directory.Delete(folder, true);

    static CudaSource Source(string text) => new("small.cu", text, [("small.cuh", "struct Arguments { float* output; };\n")]);

    const string Good =
        "#include \"small.cuh\"\nextern \"C\" void fill(void** arguments) { (*static_cast<Arguments**>(arguments[0]))[0].output = nullptr; }\n";

    [Fact]
    public void A_compiled_source_is_read_from_disk_the_next_time()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(cacheFolder: folder);
        var device = CudaRuntime.DeviceOf(zeros(1));
        int before = CudaEmulation.Compilations;
        using (device.Load(Source(Good))) { }
        using (device.Load(Source(Good))) { }
        Assert.Equal(before + 1, CudaEmulation.Compilations);
        using (device.Load(Source(Good + "// changed\n"))) { }
        Assert.Equal(before + 2, CudaEmulation.Compilations);
    }

    [Theory]
    [InlineData("cut")]
    [InlineData("changed")]
    [InlineData("empty")]
    [InlineData("refused by the driver")]
    public void A_damaged_image_is_compiled_again(string damage)
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(cacheFolder: folder);
        var device = CudaRuntime.DeviceOf(zeros(1));
        using (device.Load(Source(Good))) { }
        var file = Assert.Single(Directory.GetFiles(Path.Combine(folder, "cuda")));
        var bytes = File.ReadAllBytes(file);
        if (damage == "cut") File.WriteAllBytes(file, bytes[..(bytes.Length / 2)]);
        else if (damage == "empty") File.WriteAllBytes(file, []);
        else if (damage == "changed") { bytes[^9] ^= 1; File.WriteAllBytes(file, bytes); }
        else CudaImageCache.Write(folder, Path.GetFileNameWithoutExtension(file), new byte[200]);
        int before = CudaEmulation.Compilations;
        using (device.Load(Source(Good))) { }
        Assert.Equal(before + 1, CudaEmulation.Compilations);
        using (device.Load(Source(Good))) { }
        Assert.Equal(before + 1, CudaEmulation.Compilations);
        Assert.Single(Directory.GetFiles(Path.Combine(folder, "cuda")));
    }

    [Fact]
    public void A_compile_error_shows_the_log_with_line_numbers()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(cacheFolder: folder);
        var device = CudaRuntime.DeviceOf(zeros(1));
        var error = Assert.Throws<CudaException>(() => device.Load(Source(Good + "int broken = no_such_name;\n")));
        Assert.Contains("small.cu:3", error.Message);
        Assert.Contains("no_such_name", error.Message);
        Assert.Empty(Directory.GetFiles(folder, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public void Many_threads_may_load_at_once_and_a_folder_that_cannot_be_written_is_done_without()
    {
        using var scope = NewDisposeScope();
        var blocked = Path.Combine(folder, "file");
        File.WriteAllText(blocked, "");
        using var emulation = new CudaEmulation(cacheFolder: blocked);
        var device = CudaRuntime.DeviceOf(zeros(1));
        Parallel.For(0, 2, _ => { using (device.Load(Source(Good))) { } });
    }

    [Fact]
    public void Keys_distinguish_sources_options_and_compilers()
    {
        var keys = new HashSet<string>();
        foreach (var text in new[] { "a", "b" })
            foreach (var options in new[] { new[] { "x", "y" }, ["xy"], ["x"], [] })
                foreach (var version in new[] { "12.8", "13.0" })
                    Assert.True(keys.Add(CudaImageCache.Key(Source(text), options, version)));
    }

    [Fact]
    public void A_GPU_older_than_Ampere_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: 75);
        var error = Assert.Throws<CudaException>(() => CudaRuntime.DeviceOf(zeros(1)));
        Assert.Contains("7.5", error.Message);
        Assert.Contains("8.0", error.Message);
    }

    [Theory]
    [InlineData(80, "sm_80")]
    [InlineData(89, "sm_89")]
    [InlineData(90, "sm_90a")]
    [InlineData(120, "sm_120")]
    public void Kernels_are_compiled_for_the_GPU_that_runs_them(int capability, string architecture)
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: capability);
        Assert.Contains($"--gpu-architecture={architecture}", CudaRuntime.DeviceOf(zeros(1)).Options);
    }

    [Fact]
    public void Without_a_GPU_the_back_end_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        using (OperatorOptions.Use(new() { RmsNormBackend = KernelBackend.Cuda }))
            Assert.Contains("CUDA device", Assert.Throws<ArgumentException>("x", () => RmsNorm.Forward(zeros(2, 8), null)).Message);
        Assert.Contains("cpu", Assert.Throws<CudaException>(() => CudaRuntime.DeviceOf(zeros(1))).Message);
    }

    sealed class Listener : EventListener
    {
        public ConcurrentQueue<string> Lines { get; } = new();

        protected override void OnEventSourceCreated(EventSource source)
        {
            if (source.Name == KernelEvents.SourceName) EnableEvents(source, EventLevel.Informational);
        }

        protected override void OnEventWritten(EventWrittenEventArgs written) =>
            Lines.Enqueue(string.Format(CultureInfo.InvariantCulture, written.Message!, [.. written.Payload!]));
    }

    [Fact]
    public void Listeners_hear_once_which_back_end_serves_and_what_was_compiled()
    {
        using var scope = NewDisposeScope();
        using var listener = new Listener();
        for (int i = 0; i < 3; i++) RmsNorm.Forward(ones(2, 8), null);
        RmsNorm.Forward(ones([2, 8], ScalarType.Float64), null);
        Assert.Single(listener.Lines, "RmsNorm: back end Cpu for Float32 on cpu");
        Assert.Single(listener.Lines, "RmsNorm: back end Reference for Float64 on cpu");
        using var emulation = new CudaEmulation(cacheFolder: folder);
        using (CudaRuntime.DeviceOf(zeros(1)).Load(Source(Good))) { }
        Assert.Contains(listener.Lines, line => line.StartsWith("small.cu compiled for --gpu-architecture=sm_90a in ", StringComparison.Ordinal));
    }

    [Fact]
    public void Processes_may_share_the_folder_of_images()
    {
        Assert.SkipWhen(UnderWine.IsOn, "under Wine 8 a file that is just being replaced cannot always be opened");
        // as many writers and readers as there may be: a reader sees a whole image or none
        byte[][] images = [.. Enumerable.Range(0, 4).Select(i => Enumerable.Repeat((byte)i, 200_000 + i).ToArray())];
        Parallel.For(0, 64, i =>
        {
            CudaImageCache.Write(folder, "key", images[i % 4]);
            var read = CudaImageCache.Read(folder, "key");
            Assert.NotNull(read);
            Assert.Contains(images, image => image.AsSpan().SequenceEqual(read));
        });
        Assert.Single(Directory.GetFiles(Path.Combine(folder, "cuda")));
    }

    [Fact]
    public void An_image_of_another_compiler_or_architecture_is_not_taken()
    {
        using var scope = NewDisposeScope();
        int? before = null;
        foreach (int capability in new[] { 80, 90, 80 })
        {
            using var emulation = new CudaEmulation(capability: capability, cacheFolder: folder);
            before ??= CudaEmulation.Compilations;
            using (CudaRuntime.DeviceOf(zeros(1)).Load(Source(Good))) { }
        }
        Assert.Equal(before + 2, CudaEmulation.Compilations);
        Assert.Equal(2, Directory.GetFiles(Path.Combine(folder, "cuda")).Length);
    }

    [Fact]
    public void Each_GPU_has_a_separate_context_and_that_of_the_caller_is_restored()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var runtime = CudaRuntime.ForTensor(zeros(1));
        CudaDevice first = runtime.Device(0), second = runtime.Device(1);
        Assert.Same(first, runtime.Device(0));
        Assert.Equal((0, 1), (first.Index, second.Index));
        nint before = runtime.Driver.CurrentContext;
        try
        {
            var mine = runtime.Driver.PrimaryContext(0);
            runtime.Driver.CurrentContext = mine;
            Tensor gate = zeros(8), output = ones(8);
            var arguments = new SwiGluCuda.Arguments { Gate = TensorMemory.Pointer(gate), Up = TensorMemory.Pointer(gate),
                Output = TensorMemory.Pointer(output), Width = 8, BlocksPerRow = 1 };
            second.Launch("SwiGlu.cu", "swiglu_forward_float32_vector", (1, 1, 1), 256, 0, arguments);
            Assert.True(output.eq(0).all().item<bool>());
            Assert.Equal(mine, runtime.Driver.CurrentContext);
        }
        finally
        {
            runtime.Driver.CurrentContext = before;
        }
    }

    [Fact]
    public void A_launch_that_the_driver_refuses_says_which_kernel_and_why()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var device = CudaRuntime.DeviceOf(zeros(1));
        var error = Assert.Throws<CudaException>(
            () => device.Launch("SwiGlu.cu", "swiglu_forward_float32_vector", (1, 70_000, 1), 256, 0, new SwiGluCuda.Arguments()));
        Assert.Contains("swiglu_forward_float32_vector", error.Message);
        Assert.Contains("error 1", error.Message);
        Assert.Contains("no_such_kernel",
            Assert.Throws<CudaException>(() => device.Launch("SwiGlu.cu", "no_such_kernel", (1, 1, 1), 256, 0, new SwiGluCuda.Arguments())).Message);
    }

    [Fact]
    public void Without_driver_or_compiler_the_error_says_what_to_install()
    {
        Assert.SkipWhen(cuda.is_available(), "this machine has a driver");
        var error = Assert.Throws<CudaException>(() => CudaRuntime.LoadDriver());
        Assert.Contains("Install NVIDIA's driver", error.Message);
        Assert.Contains("Reference", error.Message);
        error = Assert.Throws<CudaException>(() => CudaRuntime.LoadCompiler());
        Assert.Contains("NVRTC", error.Message);
        Assert.Contains("TorchSharp-cuda", error.Message);
    }
}
