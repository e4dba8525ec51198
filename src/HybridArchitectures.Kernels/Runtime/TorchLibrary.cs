using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Finds and loads libtorch and TorchSharp's native library.
/// <para>
/// Default probing is tried first by the runtime; only what it does not find or cannot load is answered here: a libtorch named by the environment
/// variable <c>HYBRID_LIBTORCH_PATH</c> (the <c>torch/lib</c> folder of a Python PyTorch will do), and TorchSharp's own library on systems whose
/// libstdc++ is older than the one it was built with (Debian 12, Ubuntu 22.04), as a corrected copy in memory.
/// </para>
/// </summary>
public static class TorchLibrary
{
    /// <summary>The environment variable that names a folder with libtorch, for programs that carry none themselves.</summary>
    public const string PathVariable = "HYBRID_LIBTORCH_PATH";

    static readonly Lock Gate = new();
    static bool installed, loaded;
    static nint correctedCopy;

    /// <summary>
    /// Puts the loader in place. Cheap, loads nothing, may be called any number of times. The package compiles a call to it into every program that
    /// references it, so that it precedes the first use of TorchSharp.
    /// </summary>
    /// <exception cref="InvalidOperationException">The program carries a libtorch and <c>HYBRID_LIBTORCH_PATH</c> names another one.</exception>
    public static void Initialize()
    {
        lock (Gate)
        {
            if (installed) return;
            installed = true;
        }
        OpenMp.BoundWaiting();
        AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) => Resolve(name);
        RefuseTwoLibtorches();
    }

    // A class of this assembly that is touched first must find the loader in place as well.
#pragma warning disable CA2255 // the one place of a library where a module initialiser is meant
    [ModuleInitializer]
    internal static void InitializeModule() => Initialize();
#pragma warning restore CA2255

    /// <summary>Loads libtorch and TorchSharp's native library now, or says in one exception what is missing and what cures it.</summary>
    /// <exception cref="DllNotFoundException">No libtorch is there, or it cannot be loaded.</exception>
    public static void EnsureLoaded()
    {
        if (Volatile.Read(ref loaded)) return;
        Initialize();
        var assembly = typeof(TorchSharp.torch).Assembly;
        foreach (var name in new[] { NativeNames.TorchCpu, NativeNames.TorchSharp })
        {
            string? folder = FindFolder();          // before the attempt, so that one message says what is missing
            if (folder is null) throw new DllNotFoundException(Missing(name));
            try
            {
                NativeLibrary.Load(name, assembly, null);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                throw new DllNotFoundException(Unloadable(name, folder, e.Message), e);
            }
        }
        Volatile.Write(ref loaded, true);
    }

    /// <summary>
    /// Returns a GPU as a device. TorchSharp's own <c>torch.CUDA</c> fails with "did not initialise" where there is none; this says what to install.
    /// </summary>
    /// <param name="index">Number of the GPU, from 0. The default is 0.</param>
    /// <exception cref="ArgumentException">libtorch is built without CUDA, finds no GPU, or has no GPU of this number; the message says which, and the cure.</exception>
    /// <exception cref="DllNotFoundException">No libtorch is there, or it cannot be loaded.</exception>
    public static TorchSharp.torch.Device Gpu(int index = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        var device = new TorchSharp.torch.Device(TorchSharp.DeviceType.CUDA, index);
        TorchDevices.Require(device, nameof(index));
        return device;
    }

    /// <summary>The folder of the libtorch this program uses.</summary>
    /// <exception cref="DllNotFoundException">There is none.</exception>
    public static string Folder => FindFolder() ?? throw new DllNotFoundException(Missing(NativeNames.TorchCpu));

    static string? FindFolder() => Path.GetDirectoryName(NativeNames.Find(NativeNames.File(NativeNames.TorchCpu))) ?? FolderOfVariable();

    static string Missing(string name) =>
        $"No libtorch is there, so {NativeNames.File(name)} cannot be loaded. Add one to the program: dotnet add package TorchSharp-cpu --version {NativeNames.TorchSharpVersion} "
        + $"(for a GPU TorchSharp-cuda-linux or TorchSharp-cuda-windows). Or let {PathVariable} name the folder of an existing one; for a Python PyTorch, "
        + "python3 -c \"import torch, os; print(os.path.join(torch.__path__[0], 'lib'))\" prints it.";

    /// <summary>The message for a library that is there but that the system does not load.</summary>
    internal static string Unloadable(string name, string folder, string reason)
    {
        var text = $"{NativeNames.File(name)} of the libtorch in {folder} cannot be loaded: {reason.Split('\n')[0].TrimEnd('.', '\r')}. ";
        if (OperatingSystem.IsWindows())
            return text + "It needs the Microsoft Visual C++ Redistributable for x64, which no package brings: https://aka.ms/vs/17/release/vc_redist.x64.exe.";
        return text + $"'ldd {Path.Combine(folder, NativeNames.File(name))}' shows what this system lacks.";
    }

    static string? FolderOfVariable()
    {
        var folder = Environment.GetEnvironmentVariable(PathVariable);
        if (string.IsNullOrEmpty(folder)) return null;
        if (!File.Exists(Path.Combine(folder, NativeNames.File(NativeNames.TorchCpu))))
            throw new DllNotFoundException($"{PathVariable} is '{folder}', but there is no {NativeNames.File(NativeNames.TorchCpu)} in it; expected a folder such as .../torch/lib.");
        return Path.GetFullPath(folder);
    }

    // Two libtorches in one process end it with an unrelated message, so the contradiction is refused before either is loaded.
    static void RefuseTwoLibtorches()
    {
        var folder = Environment.GetEnvironmentVariable(PathVariable);
        if (string.IsNullOrEmpty(folder)) return;
        var own = Path.GetDirectoryName(NativeNames.Find(NativeNames.File(NativeNames.TorchCpu)));
        if (own is not null && Path.GetFullPath(own) != Path.GetFullPath(folder))
            throw new InvalidOperationException(
                $"{PathVariable} is '{folder}', but this program carries a libtorch of its own in '{own}'. Two in one process end it: unset the variable, "
                + "or build the program without TorchSharp-cpu / TorchSharp-cuda (in this repository: -p:TorchBackend=none).");
    }

    static nint Resolve(string name)
    {
        // the message about a missing libtorch is given once, for the library that TorchSharp asks for first
        if (name == NativeNames.TorchSharp) return FindFolder() is null ? 0 : LoadTorchSharp();
        if (!NativeNames.IsLibtorch(name)) return 0;
        return NativeLibrary.TryLoad(Path.Combine(Folder, NativeNames.File(name)), out var handle) ? handle : 0;
    }

    static nint LoadTorchSharp()
    {
        lock (Gate)
        {
            if (correctedCopy != 0) return correctedCopy;
            var folder = Folder;
            // its dependencies are met by soname once these are in the process
            foreach (var name in NativeNames.Preloaded(folder)) NativeLibrary.Load(Path.Combine(folder, NativeNames.File(name)));
            var original = NativeNames.Find(NativeNames.File(NativeNames.TorchSharp))
                ?? throw new DllNotFoundException($"{NativeNames.File(NativeNames.TorchSharp)} of the package TorchSharp is not next to the program; publish it with its native files.");
            // with an own libtorch elsewhere the file may simply load now; where libstdc++ is too old it cannot, and a copy is corrected
            if (NativeLibrary.TryLoad(original, out correctedCopy)) return correctedCopy;
            return correctedCopy = OperatingSystem.IsLinux() ? CorrectedCopy.Load(original) : NativeLibrary.Load(original);
        }
    }
}
