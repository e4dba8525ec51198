using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a GPU: its context, its properties, and the kernels loaded there.</summary>
sealed unsafe class CudaDevice
{
    readonly CudaRuntime runtime;
    readonly nint context;
    readonly ConcurrentDictionary<KernelVariant, Lazy<Module>> modules = new();
    readonly ConcurrentDictionary<(KernelVariant Variant, string Kernel), nint> functions = new();
    readonly ConcurrentDictionary<nint, int> shared = new();

    public CudaDevice(CudaRuntime runtime, int index)
    {
        this.runtime = runtime;
        Index = index;
        var driver = runtime.Driver;
        int device = driver.Device(index);
        Capability = driver.Attribute(device, CudaDriver.CapabilityMajor) * 10 + driver.Attribute(device, CudaDriver.CapabilityMinor);
        if (Capability < 80)
            throw new CudaException(
                $"CUDA device {index} has compute capability {Capability / 10}.{Capability % 10}; the kernels need 8.0 (Ampere) or later. Set the "
                + "back end to Reference (OperatorOptions).");
        Multiprocessors = driver.Attribute(device, CudaDriver.MultiprocessorCount);
        SharedMemory = driver.Attribute(device, CudaDriver.MaxSharedMemory);
        context = driver.PrimaryContext(device);
    }

    public int Index { get; }

    /// <summary>Gets the compute capability, for example 90 for 9.0.</summary>
    public int Capability { get; }

    public int Multiprocessors { get; }

    /// <summary>Gets the maximum number of bytes of shared memory of a block.</summary>
    public int SharedMemory { get; }

    /// <summary>Gets the options with which kernels are compiled for this device.</summary>
    public IReadOnlyList<string> Options =>
        [$"--gpu-architecture=sm_{Capability}{(Capability == 90 ? "a" : "")}", "--std=c++17", "--device-as-default-execution-space", "-lineinfo"];

    /// <summary>
    /// Gets or sets whether kernels that this thread launches can overlap with the end of the previous ones, if the GPU supports it.
    /// </summary>
    [field: ThreadStatic]
    internal static bool Overlaps { get; set; }

    /// <summary>Runs a kernel on the current stream of libtorch on this device.</summary>
    public void Launch<TArguments>(
        KernelVariant variant, string kernel, (long X, long Y, long Z) grid, int threads, int sharedBytes, in TArguments arguments)
        where TArguments : unmanaged
    {
        if (grid.X == 0 || grid.Y == 0 || grid.Z == 0) return;
        var driver = runtime.Driver;
        nint before = Enter();
        try
        {
            var function = Function(variant, kernel);
            if (sharedBytes > 48 * 1024 && shared.GetValueOrDefault(function) < sharedBytes)
            {
                driver.AllowShared(function, sharedBytes);
                shared[function] = sharedBytes;
            }
            fixed (TArguments* pointer = &arguments)
            {
                void* one = pointer;
                if (Overlaps && Capability >= 90 && !CudaRuntime.Emulated)
                    driver.LaunchOverlapping(function, grid, threads, sharedBytes, LibTorchCuda.CurrentStream(Index), &one, kernel);
                else driver.Launch(function, grid, threads, sharedBytes, CudaRuntime.Emulated ? 0 : LibTorchCuda.CurrentStream(Index), &one, kernel);
            }
        }
        finally
        {
            Leave(before);
        }
    }

    /// <summary>Returns the map of the driver for a tensor of rows, tokens and elements.</summary>
    public CudaTensorMap TensorMap(nint address, (long Rows, long Tokens, long Elements) sizes, (long Row, long Token) strides)
    {
        nint before = Enter();
        try
        {
            return runtime.Driver.TensorMap(address, sizes, strides);
        }
        finally
        {
            Leave(before);
        }
    }

    /// <summary>Returns the map of the driver for a tensor of heads.</summary>
    public CudaTensorMap TensorMap(nint address, (long Rows, long Tokens, long Heads, long Elements) sizes, (long Row, long Token, long Head) strides)
    {
        nint before = Enter();
        try
        {
            return runtime.Driver.TensorMap(address, sizes, strides);
        }
        finally
        {
            Leave(before);
        }
    }

    /// <summary>Runs work with the context of the device on this thread.</summary>
    public void Within(Action work)
    {
        nint before = Enter();
        try
        {
            work();
        }
        finally
        {
            Leave(before);
        }
    }

    // a thread of .NET has no context until one is set; if libtorch works on another GPU, its context is restored
    nint Enter()
    {
        nint before = runtime.Driver.CurrentContext;
        if (before != context) runtime.Driver.CurrentContext = context;
        return before;
    }

    void Leave(nint before)
    {
        if (before != context && before != 0) runtime.Driver.CurrentContext = before;
    }

    nint Function(KernelVariant variant, string kernel)
    {
        if (functions.TryGetValue((variant, kernel), out var known)) return known;
        var module = modules.GetOrAdd(variant, one => new(() => Load(CudaSource.Embedded(one)))).Value;
        return functions[(variant, kernel)] = runtime.Driver.Function(module.DangerousGetHandle(), kernel);
    }

    /// <summary>Returns the compiled source, loaded on this device: from the cache on disk, or compiled and stored there.</summary>
    internal Module Load(CudaSource source)
    {
        var options = Options;
        var key = CudaImageCache.Key(source, options, runtime.Compiler.Version);
        if (CudaImageCache.Read(runtime.CacheFolder, key) is { } cached && runtime.Driver.TryLoad(cached, out var module))
            return new(runtime.Driver, module);
        var started = Stopwatch.StartNew();
        var image = runtime.Compiler.Compile(source, options);
        KernelEvents.Log.KernelCompiled(source.Name, options[0], started.ElapsedMilliseconds);
        if (!runtime.Driver.TryLoad(image, out module))
            throw new CudaException(
                $"the driver does not load {source.Name} compiled by NVRTC {runtime.Compiler.Version} for {options[0]}: it may be older than the "
                + "compiler");
        CudaImageCache.Write(runtime.CacheFolder, key, image);
        return new(runtime.Driver, module);
    }

    /// <summary>Represents loaded kernels.</summary>
    internal sealed class Module : SafeHandle
    {
        readonly CudaDriver driver;

        public Module(CudaDriver driver, nint handle) : base(0, true)
        {
            this.driver = driver;
            SetHandle(handle);
        }

        public override bool IsInvalid => handle == 0;

        protected override bool ReleaseHandle()
        {
            driver.Unload(handle);
            return true;
        }
    }
}
