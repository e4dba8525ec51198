using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Contains the driver and the compiler of this process, found on first use, and the devices that they support.</summary>
sealed class CudaRuntime
{
    static readonly Lock Gate = new();
    static CudaRuntime? current, emulation;

    readonly ConcurrentDictionary<int, CudaDevice> devices = new();
    readonly Lazy<CudaCompiler> compiler;

    CudaRuntime(CudaDriver driver, Func<CudaCompiler> compiler, string cacheFolder)
    {
        Driver = driver;
        this.compiler = new(compiler);
        CacheFolder = cacheFolder;
    }

    public CudaDriver Driver { get; }

    public CudaCompiler Compiler => compiler.Value;

    public string CacheFolder { get; }

    /// <summary>Gets whether a library replaces driver and compiler, and main memory replaces that of the GPU.</summary>
    public static bool Emulated => Volatile.Read(ref emulation) is not null;

    /// <summary>Replaces driver and compiler by one library, over tensors on the CPU, until disposed.</summary>
    public static IDisposable Emulate(string library, string cacheFolder)
    {
        var handle = NativeLibrary.Load(library);
        lock (Gate)
        {
            if (emulation is not null) throw new InvalidOperationException("an emulation is in place already");
            emulation = new(new CudaDriver(handle), () => new CudaCompiler(handle), cacheFolder);
        }
        return new EndOfEmulation();
    }

    /// <summary>Returns the device of a tensor.</summary>
    /// <exception cref="CudaException">There is no driver, or the GPU is older than compute capability 8.0.</exception>
    public static CudaDevice DeviceOf(Tensor tensor)
    {
        bool cuda = tensor.device_type == DeviceType.CUDA;
        return ForTensor(tensor).Device(cuda ? tensor.device_index : 0);
    }

    /// <summary>Returns the GPU with a number.</summary>
    internal static CudaDevice DeviceAt(int index) => Current().Device(index);

    /// <summary>Returns the runtime for a tensor.</summary>
    internal static CudaRuntime ForTensor(Tensor tensor)
    {
        bool cuda = tensor.device_type == DeviceType.CUDA;
        if (!cuda && !Emulated) throw new CudaException($"CUDA kernels run on CUDA tensors; this one is on {tensor.device}");
        return cuda ? Current() : emulation!;
    }

    internal CudaDevice Device(int index) =>
        devices.TryGetValue(index, out var device) ? device : devices.GetOrAdd(index, number => new CudaDevice(this, number));

    static CudaRuntime Current()
    {
        if (Volatile.Read(ref current) is { } known) return known;
        lock (Gate) return current ??= new(new CudaDriver(LoadDriver()), () => new CudaCompiler(LoadCompiler()), NativeNames.CacheFolder);
    }

    internal static nint LoadDriver()
    {
        foreach (var name in NativeNames.CudaDriver)
            if (NativeLibrary.TryLoad(name, out var handle)) return handle;
        throw new CudaException(
            $"no CUDA driver: {string.Join(" or ", NativeNames.CudaDriver)} cannot be loaded. Install NVIDIA's driver, or set the back end "
            + "to Reference (OperatorOptions).");
    }

    internal static nint LoadCompiler()
    {
        foreach (var candidate in NativeNames.Nvrtc(TorchLibrary.Folder))
            if (NativeLibrary.TryLoad(candidate, out var handle)) return handle;
        throw new CudaException(
            $"no NVRTC, which compiles the kernels: it is neither in the folder of libtorch ({TorchLibrary.Folder}) nor on the system's "
            + "library path. "
            + "A CUDA libtorch brings it (TorchSharp-cuda-linux / TorchSharp-cuda-windows, or a Python PyTorch with CUDA); else set the "
            + "back end to Reference (OperatorOptions).");
    }

    sealed class EndOfEmulation : IDisposable
    {
        public void Dispose()
        {
            lock (Gate) emulation = null;
        }
    }
}
