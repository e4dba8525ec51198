using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Provides the names of native files on each system, and the places to search.</summary>
static class NativeNames
{
    public const string TorchSharp = "LibTorchSharp";
    public const string TorchCpu = "torch_cpu";
    public const string TorchCuda = "torch_cuda";
    public const string TorchSharpVersion = "0.107.0";

    static readonly string[] Libtorch = ["c10", "torch_cpu", "torch", "c10_cuda", "torch_cuda"];

    /// <summary>Gets the names of the CUDA driver, which the system finds.</summary>
    public static IReadOnlyList<string> CudaDriver => OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so.1", "libcuda.so"];

    /// <summary>
    /// Returns the places of NVRTC, best first: the folder of libtorch, the packages next to a Python PyTorch, the search path of the system.
    /// </summary>
    public static IEnumerable<string> Nvrtc(string torchFolder)
    {
        var (pattern, plain) = OperatingSystem.IsWindows() ? ("nvrtc64_*.dll", new[] { "nvrtc64_130_0.dll", "nvrtc64_120_0.dll" })
            : ("libnvrtc*.so*", ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]);
        var packages = Path.GetFullPath(Path.Combine(torchFolder, "..", "..", "nvidia"));
        string[] folders = [torchFolder,
            .. new[] { "cu13", "cuda_nvrtc" }.SelectMany(name => new[] { "lib", "bin" }.Select(part => Path.Combine(packages, name, part)))];
        return folders.Where(Directory.Exists)
            .SelectMany(folder => Directory.EnumerateFiles(folder, pattern).Order(StringComparer.Ordinal))
            .Where(path => !path.Contains("builtins", StringComparison.Ordinal) && !path.Contains(".alt.", StringComparison.Ordinal))
            .Concat(plain);
    }

    /// <summary>Returns the places of cuBLAS: as loaded by libtorch, or in the folder of libtorch.</summary>
    public static IEnumerable<string> Blas(string torchFolder)
    {
        string[] plain = OperatingSystem.IsWindows() ? ["cublas64_13.dll", "cublas64_12.dll"] : ["libcublas.so.13", "libcublas.so.12"];
        var packages = Path.GetFullPath(Path.Combine(torchFolder, "..", "..", "nvidia"));
        string[] folders = [torchFolder,
            .. new[] { "cu13", "cublas" }.SelectMany(name => new[] { "lib", "bin" }.Select(part => Path.Combine(packages, name, part)))];
        return plain.Concat(folders.SelectMany(folder => plain.Select(name => Path.Combine(folder, name)).Where(System.IO.File.Exists)));
    }

    public static bool IsLibtorch(string name) => Libtorch.Contains(name);

    /// <summary>Returns the file name of a library: <c>libtorch_cpu.so</c>, <c>torch_cpu.dll</c>, <c>libtorch_cpu.dylib</c>.</summary>
    public static string File(string name) =>
        OperatingSystem.IsWindows() ? $"{name}.dll" : OperatingSystem.IsMacOS() ? $"lib{name}.dylib" : $"lib{name}.so";

    /// <summary>Returns the files of a folder that must be loaded before TorchSharp's library, in order.</summary>
    public static IEnumerable<string> Preloaded(string folder) => Libtorch.Where(name => System.IO.File.Exists(Path.Combine(folder, File(name))));

    /// <summary>Returns the path of a native file that the host lists for this program, or that is in its folder; null if there is none.</summary>
    public static string? Find(string file) =>
        ((string?)AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Append(AppContext.BaseDirectory)
            .Append(Path.Combine(AppContext.BaseDirectory, "runtimes", RuntimeInformation.RuntimeIdentifier, "native"))
            .Select(folder => Path.Combine(folder, file))
            .FirstOrDefault(System.IO.File.Exists);

    /// <summary>Gets the cache folder of this library: <c>$HYBRID_CACHE_PATH</c>, or else the cache folder of the user.</summary>
    public static string CacheFolder
    {
        get
        {
            if (Environment.GetEnvironmentVariable("HYBRID_CACHE_PATH") is { Length: > 0 } named) return Path.GetFullPath(named);
            if (OperatingSystem.IsWindows() || OperatingSystem.IsMacOS())
                return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData), "HybridArchitectures", "cache");
            var root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            if (string.IsNullOrEmpty(root) || !Path.IsPathRooted(root))
                root = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify),
                    ".cache");
            return Path.Combine(root, "HybridArchitectures");
        }
    }
}
