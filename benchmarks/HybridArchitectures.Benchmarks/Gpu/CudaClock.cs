using System.Runtime.InteropServices;
using TorchSharp;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Reads the events of the CUDA driver on the default stream of libtorch, and the free memory of the GPU.</summary>
sealed unsafe class CudaClock
{
    readonly delegate* unmanaged<nint*, uint, int> eventCreate;
    readonly delegate* unmanaged<nint, nint, int> eventRecord;
    readonly delegate* unmanaged<nint, int> eventDestroy;
    readonly delegate* unmanaged<float*, nint, nint, int> eventElapsedTime;
    readonly delegate* unmanaged<nuint*, nuint*, int> memoryInfo;
    readonly delegate* unmanaged<nint*, int> contextGetCurrent;
    readonly delegate* unmanaged<nint, int> contextSetCurrent;
    readonly delegate* unmanaged<int*, int> contextGetDevice;
    readonly delegate* unmanaged<byte*, int, int, int> deviceGetName;

    public CudaClock()
    {
        var library = NativeLibrary.Load(OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1");
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        eventCreate = (delegate* unmanaged<nint*, uint, int>)Export("cuEventCreate");
        eventRecord = (delegate* unmanaged<nint, nint, int>)Export("cuEventRecord");
        eventDestroy = (delegate* unmanaged<nint, int>)Export("cuEventDestroy_v2");
        eventElapsedTime = (delegate* unmanaged<float*, nint, nint, int>)Export("cuEventElapsedTime");
        contextGetCurrent = (delegate* unmanaged<nint*, int>)Export("cuCtxGetCurrent");
        contextSetCurrent = (delegate* unmanaged<nint, int>)Export("cuCtxSetCurrent");
        contextGetDevice = (delegate* unmanaged<int*, int>)Export("cuCtxGetDevice");
        deviceGetName = (delegate* unmanaged<byte*, int, int, int>)Export("cuDeviceGetName");
        memoryInfo = (delegate* unmanaged<nuint*, nuint*, int>)Export("cuMemGetInfo_v2");
    }

    /// <summary>Gets the name of the GPU in use.</summary>
    public string DeviceName
    {
        get
        {
            torch.cuda.synchronize();   // makes its context current
            int device;
            Check(contextGetDevice(&device), "cuCtxGetDevice");
            byte* name = stackalloc byte[256];
            Check(deviceGetName(name, 256, device), "cuDeviceGetName");
            return Marshal.PtrToStringUTF8((nint)name)!;
        }
    }

    public long FreeBytes
    {
        get
        {
            nuint free, total;
            Check(memoryInfo(&free, &total), "cuMemGetInfo");
            return (long)free;
        }
    }

    /// <summary>Gets or sets the context of the calling thread. A new thread has none until it is set.</summary>
    public nint Context
    {
        get
        {
            nint context;
            Check(contextGetCurrent(&context), "cuCtxGetCurrent");
            return context;
        }
        set => Check(contextSetCurrent(value), "cuCtxSetCurrent");
    }

    public nint Record()
    {
        nint made;
        Check(eventCreate(&made, 0), "cuEventCreate");
        Check(eventRecord(made, 0), "cuEventRecord");
        return made;
    }

    /// <summary>Milliseconds between two events that have passed; both are released.</summary>
    public double Between(nint first, nint second)
    {
        float elapsed;
        Check(eventElapsedTime(&elapsed, first, second), "cuEventElapsedTime");
        Check(eventDestroy(first), "cuEventDestroy");
        Check(eventDestroy(second), "cuEventDestroy");
        return elapsed;
    }

    /// <summary>Returns the free memory of libtorch's allocator to the GPU, as the allocator does before it refuses a request.</summary>
    public static void ReleaseFreeBlocks()
    {
        torch.cuda.synchronize();
        try
        {
            torch.empty([1L << 42], torch.ScalarType.Byte, torch.CUDA).Dispose();
        }
        catch (ExternalException)
        {
            return;
        }
        throw new InvalidOperationException("a GPU with more than 4 TB of memory: ask for more");
    }

    static void Check(int code, string what)
    {
        if (code != 0) throw new InvalidOperationException($"{what} failed with CUDA error {code}");
    }
}
