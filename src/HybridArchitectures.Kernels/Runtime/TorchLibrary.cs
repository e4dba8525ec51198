using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Finds and loads libtorch and the native library of TorchSharp.
/// <para>
/// The runtime first uses its default search. This class provides only what that does not find or cannot load: a libtorch named by the environment
/// variable <c>HYBRID_LIBTORCH_PATH</c> (for example the <c>torch/lib</c> folder of a Python PyTorch), and the library of TorchSharp on systems whose
/// libstdc++ is older than the one with which it was built (Debian 12, Ubuntu 22.04), as a corrected copy in memory.
/// </para>
/// </summary>
public static class TorchLibrary
{
    /// <summary>The environment variable with the path of a folder with libtorch, for programs that do not contain libtorch.</summary>
    public const string PathVariable = "HYBRID_LIBTORCH_PATH";

    static readonly Lock Gate = new();
    static bool installed, loaded;
    static nint correctedCopy;

    /// <summary>
    /// Registers the loader. The call is cheap, loads nothing, and can be repeated. The package adds a call to every program that references it, so
    /// that it precedes the first use of TorchSharp.
    /// </summary>
    /// <exception cref="InvalidOperationException">The program contains a libtorch, and <c>HYBRID_LIBTORCH_PATH</c> names another one.</exception>
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

    // a class of this assembly that is used first must find the loader registered as well
#pragma warning disable CA2255 // the one place of a library where a module initialiser is intended
    [ModuleInitializer]
    internal static void InitializeModule() => Initialize();
#pragma warning restore CA2255

    /// <summary>
    /// Loads libtorch and the native library of TorchSharp now, or throws one exception that names the missing component and how to install it.
    /// </summary>
    /// <exception cref="DllNotFoundException">There is no libtorch, or it cannot be loaded.</exception>
    public static void EnsureLoaded()
    {
        if (Volatile.Read(ref loaded)) return;
        Initialize();
        var assembly = typeof(TorchSharp.torch).Assembly;
        foreach (var name in new[] { NativeNames.TorchCpu, NativeNames.TorchSharp })
        {
            string? folder = FindFolder();          // before the attempt, so that one message names the missing component
            if (folder is null) throw new DllNotFoundException(Missing(name));
            try
            {
                NativeLibrary.Load(name, assembly, null);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                throw new DllNotFoundException(Unloadable(name, folder, e.Message, OperatingSystem.IsWindows()), e);
            }
        }
        Volatile.Write(ref loaded, true);
    }

    /// <summary>
    /// Returns a GPU as a device. If there is none, the exception says what to install. TorchSharp's <c>torch.CUDA</c> fails with "did not
    /// initialise" in this case.
    /// </summary>
    /// <param name="index">The number of the GPU, from 0. The default is 0.</param>
    /// <exception cref="ArgumentException">
    /// libtorch is built without CUDA, finds no GPU, or has no GPU with this number. The message names the case and the remedy.
    /// </exception>
    /// <exception cref="DllNotFoundException">There is no libtorch, or it cannot be loaded.</exception>
    public static TorchSharp.torch.Device Gpu(int index = 0)
    {
        Require.AtLeast(index, 0);
        var device = new TorchSharp.torch.Device(TorchSharp.DeviceType.CUDA, index);
        TorchDevices.EnsureUsable(device, nameof(index));
        return device;
    }

    /// <summary>Gets the folder of the libtorch that this program uses.</summary>
    /// <exception cref="DllNotFoundException">There is none.</exception>
    public static string Folder => FindFolder() ?? throw new DllNotFoundException(Missing(NativeNames.TorchCpu));

    static string? FindFolder() => Path.GetDirectoryName(NativeNames.Find(NativeNames.File(NativeNames.TorchCpu))) ?? FolderOfVariable();

    static string Missing(string name) =>
        $"No libtorch is there, so {NativeNames.File(name)} cannot be loaded. Add one to the program: dotnet add package TorchSharp-cpu --version "
            + $"{NativeNames.TorchSharpVersion} "
        + $"(for a GPU TorchSharp-cuda-linux or TorchSharp-cuda-windows). Or let {PathVariable} name the folder of an existing one; for a Python "
        + "PyTorch, "
        + "python3 -c \"import torch, os; print(os.path.join(torch.__path__[0], 'lib'))\" prints it.";

    /// <summary>Returns the message for a library that exists but that the system does not load.</summary>
    internal static string Unloadable(string name, string folder, string reason, bool isWindows)
    {
        var text = $"{NativeNames.File(name)} of the libtorch in {folder} cannot be loaded: {reason.Split('\n')[0].TrimEnd('.', '\r')}. ";
        if (isWindows)
            return text
                + "It needs the Microsoft Visual C++ Redistributable for x64, which no package brings: "
                + "https://aka.ms/vs/17/release/vc_redist.x64.exe.";
        return text + $"'ldd {Path.Combine(folder, NativeNames.File(name))}' shows what this system lacks.";
    }

    static string? FolderOfVariable()
    {
        var folder = Environment.GetEnvironmentVariable(PathVariable);
        if (string.IsNullOrEmpty(folder)) return null;
        if (!File.Exists(Path.Combine(folder, NativeNames.File(NativeNames.TorchCpu))))
            throw new DllNotFoundException(
                $"{PathVariable} is '{folder}', but there is no {NativeNames.File(NativeNames.TorchCpu)} in it; expected a folder such as "
                + ".../torch/lib.");
        return Path.GetFullPath(folder);
    }

    // two libtorches in one process end it with an unrelated message, so the contradiction is refused before either is loaded
    static void RefuseTwoLibtorches()
    {
        var folder = Environment.GetEnvironmentVariable(PathVariable);
        if (string.IsNullOrEmpty(folder)) return;
        var own = Path.GetDirectoryName(NativeNames.Find(NativeNames.File(NativeNames.TorchCpu)));
        if (own is not null && Path.GetFullPath(own) != Path.GetFullPath(folder))
            throw new InvalidOperationException(
                $"{PathVariable} is '{folder}', but this program contains its own libtorch in '{own}'. Two in one process end it: unset the "
                + "variable, "
                + "or build the program without TorchSharp-cpu / TorchSharp-cuda (in this repository: -p:TorchBackend=none).");
    }

    static nint Resolve(string name)
    {
        // the message about a missing libtorch appears once, for the library that TorchSharp requests first
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
            // its dependencies are resolved by soname once these are loaded
            foreach (var name in NativeNames.Preloaded(folder)) NativeLibrary.Load(Path.Combine(folder, NativeNames.File(name)));
            var original = NativeNames.Find(NativeNames.File(NativeNames.TorchSharp))
                ?? throw new DllNotFoundException(
                $"{NativeNames.File(NativeNames.TorchSharp)} of the package TorchSharp is not next to the program; publish it with its "
                + "native files.");
            // with a libtorch elsewhere the file may simply load now; if libstdc++ is too old, a copy is corrected
            if (NativeLibrary.TryLoad(original, out correctedCopy)) return correctedCopy;
            return correctedCopy = OperatingSystem.IsLinux() ? CorrectedCopy.Load(original) : NativeLibrary.Load(original);
        }
    }
}
