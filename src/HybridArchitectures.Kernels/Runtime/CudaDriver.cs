using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Declares the part of the C interface of the CUDA driver that compiled kernels need.</summary>
sealed unsafe class CudaDriver
{
    public const int MultiprocessorCount = 16, CapabilityMajor = 75, CapabilityMinor = 76, MaxSharedMemory = 97;
    const int ProgrammaticStreamSerialization = 6;
    const int MaxDynamicShared = 8;

    readonly delegate* unmanaged<int, byte**, int> getErrorString;
    readonly delegate* unmanaged<int*, int, int> deviceGet;
    readonly delegate* unmanaged<int*, int, int, int> deviceGetAttribute;
    readonly delegate* unmanaged<nint*, int, int> primaryContextRetain;
    readonly delegate* unmanaged<nint*, int> contextGetCurrent;
    readonly delegate* unmanaged<nint, int> contextSetCurrent;
    readonly delegate* unmanaged<nint*, void*, int> moduleLoadData;
    readonly delegate* unmanaged<nint, int> moduleUnload;
    readonly delegate* unmanaged<nint*, nint, byte*, int> moduleGetFunction;
    readonly delegate* unmanaged<nint, int, int, int> functionSetAttribute;
    readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> launchKernel;
    // null in drivers before CUDA 11.8
    readonly delegate* unmanaged<LaunchConfiguration*, nint, void**, void**, int> launchKernelEx;
    // null in drivers before CUDA 12
    readonly delegate* unmanaged<CudaTensorMap*, int, uint, nint, ulong*, ulong*, uint*, uint*, int, int, int, int, int> encodeTensorMap;

    public CudaDriver(nint library)
    {
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        getErrorString = (delegate* unmanaged<int, byte**, int>)Export("cuGetErrorString");
        deviceGet = (delegate* unmanaged<int*, int, int>)Export("cuDeviceGet");
        deviceGetAttribute = (delegate* unmanaged<int*, int, int, int>)Export("cuDeviceGetAttribute");
        primaryContextRetain = (delegate* unmanaged<nint*, int, int>)Export("cuDevicePrimaryCtxRetain");
        contextGetCurrent = (delegate* unmanaged<nint*, int>)Export("cuCtxGetCurrent");
        contextSetCurrent = (delegate* unmanaged<nint, int>)Export("cuCtxSetCurrent");
        moduleLoadData = (delegate* unmanaged<nint*, void*, int>)Export("cuModuleLoadData");
        moduleUnload = (delegate* unmanaged<nint, int>)Export("cuModuleUnload");
        moduleGetFunction = (delegate* unmanaged<nint*, nint, byte*, int>)Export("cuModuleGetFunction");
        functionSetAttribute = (delegate* unmanaged<nint, int, int, int>)Export("cuFuncSetAttribute");
        launchKernel = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)Export("cuLaunchKernel");
        launchKernelEx = (delegate* unmanaged<LaunchConfiguration*, nint, void**, void**, int>)(
            NativeLibrary.TryGetExport(library, "cuLaunchKernelEx", out var launch) ? launch : 0);
        encodeTensorMap = (delegate* unmanaged<CudaTensorMap*, int, uint, nint, ulong*, ulong*, uint*, uint*, int, int, int, int, int>)
            (NativeLibrary.TryGetExport(library, "cuTensorMapEncodeTiled", out var encode) ? encode : 0);
        Check(((delegate* unmanaged<uint, int>)Export("cuInit"))(0), "cuInit");
    }

    public int Device(int index)
    {
        int device;
        Check(deviceGet(&device, index), "cuDeviceGet");
        return device;
    }

    public int Attribute(int device, int attribute)
    {
        int value;
        Check(deviceGetAttribute(&value, attribute, device), "cuDeviceGetAttribute");
        return value;
    }

    /// <summary>Returns the context that libtorch also uses on the device. Like libtorch, the process keeps it until it ends.</summary>
    public nint PrimaryContext(int device)
    {
        nint context;
        Check(primaryContextRetain(&context, device), "cuDevicePrimaryCtxRetain");
        return context;
    }

    public nint CurrentContext
    {
        get
        {
            nint context;
            Check(contextGetCurrent(&context), "cuCtxGetCurrent");
            return context;
        }
        set => Check(contextSetCurrent(value), "cuCtxSetCurrent");
    }

    /// <summary>Loads a compiled image into the current context. Returns false if the driver does not accept it.</summary>
    public bool TryLoad(ReadOnlySpan<byte> image, out nint module)
    {
        fixed (byte* bytes = image)
        fixed (nint* result = &module)
            return moduleLoadData(result, bytes) == 0;
    }

    public void Unload(nint module) => moduleUnload(module);

    public nint Function(nint module, string name)
    {
        nint function;
        var text = Marshal.StringToCoTaskMemUTF8(name);
        try
        {
            Check(moduleGetFunction(&function, module, (byte*)text), $"cuModuleGetFunction of {name}");
        }
        finally
        {
            Marshal.FreeCoTaskMem(text);
        }
        return function;
    }

    public void AllowShared(nint function, int bytes) =>
        Check(functionSetAttribute(function, MaxDynamicShared, bytes), $"cuFuncSetAttribute for {bytes} bytes of shared memory");

    public void Launch(nint function, (long X, long Y, long Z) grid, int threads, int shared, nint stream, void** arguments, string name) =>
        Check(launchKernel(function, checked((uint)grid.X), checked((uint)grid.Y), checked((uint)grid.Z), (uint)threads, 1, 1, (uint)shared, stream,
            arguments, null),
            $"the launch of {name} over {grid} blocks of {threads} threads");

    /// <summary>
    /// The same for a kernel whose blocks may be placed while the kernel before still runs: it waits itself before it touches memory.
    /// </summary>
    public void LaunchOverlapping(nint function, (long X, long Y, long Z) grid, int threads, int shared, nint stream, void** arguments, string name)
    {
        if (launchKernelEx is null)
        {
            Launch(function, grid, threads, shared, stream, arguments, name);
            return;
        }
        var attribute = new LaunchAttribute { Id = ProgrammaticStreamSerialization, Value = 1 };
        var configuration = new LaunchConfiguration
        {
            GridX = checked((uint)grid.X), GridY = checked((uint)grid.Y), GridZ = checked((uint)grid.Z), BlockX = (uint)threads, BlockY = 1,
            BlockZ = 1,
            SharedBytes = (uint)shared, Stream = stream, Attributes = &attribute, AttributeCount = 1,
        };
        Check(launchKernelEx(&configuration, function, arguments, null), $"the launch of {name} over {grid} blocks of {threads} threads");
    }

    // CUlaunchAttribute and CUlaunchConfig
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    struct LaunchAttribute
    {
        [FieldOffset(0)] public int Id;
        [FieldOffset(8)] public int Value;
    }

    struct LaunchConfiguration
    {
        public uint GridX, GridY, GridZ, BlockX, BlockY, BlockZ, SharedBytes;
        public nint Stream;
        public LaunchAttribute* Attributes;
        public uint AttributeCount;
    }

    /// <summary>
    /// Returns a map for copies of 64 tokens of 64 elements of a bfloat16 tensor (rows, tokens, elements). The last dimension is contiguous, and the
    /// strides in bytes are multiples of 16. Copies to shared memory are swizzled over 128 bytes, with zeros outside the tensor.
    /// </summary>
    public CudaTensorMap TensorMap(nint address, (long Rows, long Tokens, long Elements) sizes, (long Row, long Token) strides) =>
        Encode(address, [(ulong)sizes.Elements, (ulong)sizes.Tokens, (ulong)sizes.Rows], [(ulong)strides.Token, (ulong)strides.Row], [64, 64, 1]);

    /// <summary>
    /// Returns a map for copies of 64 tokens of 64 elements of one head of a bfloat16 tensor (rows, tokens, heads, elements of a head), otherwise as
    /// in the other overload.
    /// </summary>
    public CudaTensorMap TensorMap(
        nint address, (long Rows, long Tokens, long Heads, long Elements) sizes, (long Row, long Token, long Head) strides) => Encode(address,
        [(ulong)sizes.Elements, (ulong)sizes.Heads, (ulong)sizes.Tokens, (ulong)sizes.Rows],
            [(ulong)strides.Head, (ulong)strides.Token, (ulong)strides.Row], [64, 1, 64, 1]);

    CudaTensorMap Encode(nint address, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> strides, ReadOnlySpan<uint> box)
    {
        const int BFloat16 = 9, Swizzle128 = 3, Promote128 = 2;
        if (encodeTensorMap is null)
            throw new CudaException("this driver has no cuTensorMapEncodeTiled; the kernels for compute capability 9.0 need one of CUDA 12 or later");
        var map = stackalloc byte[sizeof(CudaTensorMap) + 64];
        var aligned = (CudaTensorMap*)((nint)(map + 63) & ~63);
        var steps = stackalloc uint[] { 1, 1, 1, 1 };
        fixed (ulong* size = sizes)
        fixed (ulong* stride = strides)
        fixed (uint* boxSize = box)
        {
            int code = encodeTensorMap(aligned, BFloat16, (uint)sizes.Length, address, size, stride, boxSize, steps, 0, Swizzle128, Promote128, 0);
            if (code != 0) Check(code, $"cuTensorMapEncodeTiled of sizes ({Join(sizes)}), strides in bytes ({Join(strides)}), innermost first");
        }
        return *aligned;
    }

    static string Join(ReadOnlySpan<ulong> numbers) => string.Join(", ", numbers.ToArray());

    void Check(int code, string what)
    {
        if (code == 0) return;
        byte* text;
        var reason = getErrorString(code, &text) == 0 ? Marshal.PtrToStringUTF8((nint)text) : "unknown";
        throw new CudaException($"CUDA: {what} failed with error {code}: {reason}");
    }
}
