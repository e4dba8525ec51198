using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Emulates the CUDA back end over main memory until it is disposed. <c>driver.cpp</c> replaces the driver and the compiler, and runs the threads of
/// a block as fibers. Memory that kernels write is between guards and contains NaN before. Compiled kernels stay in a folder of the temporary folder
/// of the system, so that only a changed source is compiled, until they are unused for three days.
/// </summary>
sealed unsafe class CudaEmulation : IDisposable
{
    // elements before and after a tensor; the previous values of integers
    const int Guard = 64, Whole = -77_777;
    const string LibraryName = "driver.so";
    const string KernelOptions = "-std=c++17 -g0 -fPIC -fno-strict-aliasing -Wno-unknown-pragmas";

    static readonly string Prefix = $"HybridArchitectures-emulation-{Environment.UserName}-";
    static readonly Lazy<(string Library, string Folder)> Built = new(Build);

    readonly IDisposable emulation, options;
    readonly List<(Tensor Whole, long Inner)> allocated = [];

    public CudaEmulation(bool backwards = false, int capability = 90, string? cacheFolder = null, int multiprocessors = 4)
    {
        CppCompiler.IsNeeded(CppCompiler.Cpp, "no C++ compiler: the CUDA kernels were not run under emulation (install clang-19 or g++)");
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the emulation is written for Linux");
        var (library, folder) = Built.Value;
        ((delegate* unmanaged<int, int, int, void>)NativeLibrary.GetExport(NativeLibrary.Load(library), "emulation_set"))(
            capability, backwards ? 1 : 0, multiprocessors);
        emulation = CudaRuntime.Emulate(library, cacheFolder ?? folder);
        options = OperatorOptions.Use(OperatorOptions.Current with { Allocator = Allocate });
    }

    /// <summary>Gets how often a kernel source was compiled in this process.</summary>
    public static int Compilations =>
        ((delegate* unmanaged<int>)NativeLibrary.GetExport(NativeLibrary.Load(Built.Value.Library), "emulation_compilations"))();

    /// <summary>Runs the action with threads in rising order, then in falling order.</summary>
    public static void BothOrders(Action action)
    {
        foreach (bool backwards in new[] { false, true })
        {
            using var emulation = new CudaEmulation(backwards);
            action();
        }
    }

    public void Dispose()
    {
        options.Dispose();
        emulation.Dispose();
        foreach (var (whole, inner) in allocated)
        {
            using var scope = NewDisposeScope();
            var guards = cat([whole.narrow(0, 0, Guard), whole.narrow(0, Guard + inner, Guard)]);
            var kept = whole.is_floating_point() ? guards.isnan() : guards.eq(Whole.ToScalar());
            Assert.True(kept.all().item<bool>(), "a kernel wrote past the end of a tensor");
            whole.Dispose();
        }
    }

    Tensor Allocate(long[] sizes, ScalarType type, Device device)
    {
        long inner = sizes.Aggregate(1L, (product, size) => product * size);
        bool isInteger = type is ScalarType.Int32 or ScalarType.Int64;
        var whole = full([inner + 2 * Guard], isInteger ? Whole.ToScalar() : float.NaN.ToScalar(), type).DetachFromDisposeScope();
        allocated.Add((whole, inner));
        return whole.narrow(0, Guard, inner).reshape(sizes);
    }

    static (string, string) Build()
    {
        var sources = Directory.GetFiles(CppCompiler.Headers).Order(StringComparer.Ordinal).SelectMany(File.ReadAllBytes)
            .Concat(Encoding.UTF8.GetBytes(KernelOptions)).ToArray();
        var folder = Path.Combine(Path.GetTempPath(), $"{Prefix}{Convert.ToHexStringLower(SHA256.HashData(sources))[..16]}-{CppCompiler.Cpp}");
        var library = Path.Combine(folder, LibraryName);
        DeleteUnused(Path.GetTempPath(), folder);
        if (File.Exists(library))
        {
            File.SetLastWriteTimeUtc(library, DateTime.UtcNow);
            return (library, folder);
        }
        Directory.CreateDirectory(folder);
        foreach (var file in Directory.GetFiles(CppCompiler.Headers)) File.Copy(file, Path.Combine(folder, Path.GetFileName(file)), true);
        string Placed(string name) => Path.Combine(folder, name);
        Compile(library, ["-std=c++17", "-O2", "-shared", "-fPIC", $"-DEMULATION_COMPILER=\"{CppCompiler.Cpp} {KernelOptions}\"",
            $"-DEMULATION_FOLDER=\"{folder}\"", Placed("driver.cpp"), Placed("runtime.cpp"), "-ldl"]);
        return (library, folder);
    }

    /// <summary>Deletes kernels of earlier sources, and folders of programs that were killed, if nothing has used them for three days.</summary>
    /// <param name="temporary">The temporary folder of the system.</param>
    /// <param name="current">The folder of the present sources, of which only kernels are deleted.</param>
    internal static void DeleteUnused(string temporary, string current)
    {
        var limit = DateTime.UtcNow.AddDays(-3);
        foreach (string folder in Directory.GetDirectories(temporary, Prefix + "*").Concat(Directory.GetDirectories(temporary, "emulation??????")))
        {
            string library = Path.Combine(folder, LibraryName);
            var used = File.Exists(library) ? File.GetLastWriteTimeUtc(library) : Directory.GetLastWriteTimeUtc(folder);
            if (folder != current && used < limit) Try(() => Directory.Delete(folder, recursive: true));
        }
        string kernels = Path.Combine(current, "cuda");
        foreach (string kernel in Directory.Exists(kernels) ? Directory.GetFiles(kernels) : [])
            if (File.GetLastWriteTimeUtc(kernel) < limit && File.GetLastAccessTimeUtc(kernel) < limit) Try(() => File.Delete(kernel));
    }

    // another program may delete the same, and folders of other users stay
    static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
        }
    }

    static void Compile(string output, string[] arguments)
    {
        var own = $"{output}.{Environment.ProcessId}";
        var (code, log) = CppCompiler.Run(CppCompiler.Cpp!, [.. arguments, "-o", own]);
        Assert.True(code == 0, log);
        File.Move(own, output, true);
    }
}
