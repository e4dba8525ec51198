using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

public class CudaRuntimeTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("images").FullName;

    public void Dispose() => Directory.Delete(folder, true);

    static CudaSource Source(string text) => new("small.cu", text, [("small.cuh", "struct Arguments { float* output; };\n")]);

    const string Good = "#include \"small.cuh\"\nextern \"C\" void fill(void** arguments) { (*static_cast<Arguments**>(arguments[0]))[0].output = nullptr; }\n";

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
    public void A_damaged_image_is_built_anew(string damage)
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
        Assert.False(Directory.Exists(Path.Combine(folder, "cuda")));
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
    public void Keys_tell_sources_options_and_compilers_apart()
    {
        var keys = new HashSet<string>();
        foreach (var text in new[] { "a", "b" })
            foreach (var options in new[] { new[] { "x", "y" }, ["xy"], ["x"], [] })
                foreach (var version in new[] { "12.8", "13.0" })
                    Assert.True(keys.Add(CudaImageCache.Key(Source(text), options, version)));
    }

    [Fact]
    public void A_card_older_than_Ampere_is_refused_by_name()
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
    public void Kernels_are_compiled_for_the_card_in_hand(int capability, string architecture)
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: capability);
        Assert.Contains($"--gpu-architecture={architecture}", CudaRuntime.DeviceOf(zeros(1)).Options);
    }

    [Fact]
    public void Without_a_card_the_back_end_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        try
        {
            RmsNorm.Backend = KernelBackend.Cuda;
            Assert.Contains("CUDA device", Assert.Throws<ArgumentException>("x", () => RmsNorm.Forward(zeros(2, 8), null)).Message);
        }
        finally
        {
            RmsNorm.Backend = KernelBackend.Auto;
        }
        Assert.Contains("cpu", Assert.Throws<CudaException>(() => CudaRuntime.DeviceOf(zeros(1))).Message);
    }
}
