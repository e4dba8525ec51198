using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Calls the functions of the CUDA driver for streams, events and graphs, which captured graphs need.</summary>
static unsafe class CudaGraphDriver
{
    const uint NonBlocking = 1, WithoutTiming = 2;
    const int RelaxedCapture = 2;

    static readonly Lazy<Exports> Driver = new(() => new Exports(CudaRuntime.LoadDriver()));

    sealed class Exports(nint library)
    {
        public readonly delegate* unmanaged<nint*, uint, int> StreamCreate = (delegate* unmanaged<nint*, uint,
            int>)NativeLibrary.GetExport(library, "cuStreamCreate");
        public readonly delegate* unmanaged<nint, nint, uint, int> StreamWaitEvent = (delegate* unmanaged<nint, nint, uint,
            int>)NativeLibrary.GetExport(library, "cuStreamWaitEvent");
        public readonly delegate* unmanaged<nint, int, int> BeginCapture = (delegate* unmanaged<nint, int, int>)NativeLibrary.GetExport(library,
            "cuStreamBeginCapture_v2");
        public readonly delegate* unmanaged<nint, nint*, int> EndCapture = (delegate* unmanaged<nint, nint*, int>)NativeLibrary.GetExport(library,
            "cuStreamEndCapture");
        public readonly delegate* unmanaged<nint*, uint, int> EventCreate = (delegate* unmanaged<nint*, uint, int>)NativeLibrary.GetExport(library,
            "cuEventCreate");
        public readonly delegate* unmanaged<nint, nint, int> EventRecord = (delegate* unmanaged<nint, nint, int>)NativeLibrary.GetExport(library,
            "cuEventRecord");
        public readonly delegate* unmanaged<nint, int> EventSynchronize = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library,
            "cuEventSynchronize");
        public readonly delegate* unmanaged<nint, int> EventQuery = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library,
            "cuEventQuery");
        public readonly delegate* unmanaged<nint, int> EventDestroy = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library,
            "cuEventDestroy_v2");
        public readonly delegate* unmanaged<nint*, nint, ulong, int> Instantiate = (delegate* unmanaged<nint*, nint, ulong,
            int>)NativeLibrary.GetExport(library, "cuGraphInstantiateWithFlags");
        public readonly delegate* unmanaged<nint, nint, int> Launch = (delegate* unmanaged<nint, nint, int>)NativeLibrary.GetExport(library,
            "cuGraphLaunch");
        public readonly delegate* unmanaged<nint, int> GraphDestroy = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library,
            "cuGraphDestroy");
        public readonly delegate* unmanaged<nint, int> ExecDestroy = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library,
            "cuGraphExecDestroy");
        public readonly delegate* unmanaged<nint, nint*, nuint*, int> GetNodes = (delegate* unmanaged<nint, nint*, nuint*,
            int>)NativeLibrary.GetExport(library, "cuGraphGetNodes");
        public readonly delegate* unmanaged<nuint*, nuint*, int> MemoryInfo = (delegate* unmanaged<nuint*, nuint*,
            int>)NativeLibrary.GetExport(library, "cuMemGetInfo_v2");
        public readonly delegate* unmanaged<int*, int, int> DeviceGet = (delegate* unmanaged<int*, int,
            int>)NativeLibrary.GetExport(library, "cuDeviceGet");
        public readonly delegate* unmanaged<byte*, int, int, int> DeviceGetName = (delegate* unmanaged<byte*, int, int,
            int>)NativeLibrary.GetExport(library, "cuDeviceGetName");
        public readonly delegate* unmanaged<int, byte**, int> ErrorText = (delegate* unmanaged<int, byte**, int>)NativeLibrary.GetExport(library,
            "cuGetErrorString");
    }

    public static nint CreateStream()
    {
        nint stream;
        Check(Driver.Value.StreamCreate(&stream, NonBlocking), "cuStreamCreate");
        return stream;
    }

    public static nint CreateEvent()
    {
        nint made;
        Check(Driver.Value.EventCreate(&made, WithoutTiming), "cuEventCreate");
        return made;
    }

    public static void DestroyEvent(nint handle) => Driver.Value.EventDestroy(handle);

    public static void Record(nint handle, nint stream) => Check(Driver.Value.EventRecord(handle, stream), "cuEventRecord");

    public static void Wait(nint stream, nint handle) => Check(Driver.Value.StreamWaitEvent(stream, handle, 0), "cuStreamWaitEvent");

    public static void Synchronize(nint handle) => Check(Driver.Value.EventSynchronize(handle), "cuEventSynchronize");

    /// <summary>Returns whether the work before an event is complete, without waiting.</summary>
    public static bool IsComplete(nint handle)
    {
        const int notReady = 600;
        int code = Driver.Value.EventQuery(handle);
        if (code != notReady) Check(code, "cuEventQuery");
        return code == 0;
    }

    public static void BeginCapture(nint stream) => Check(Driver.Value.BeginCapture(stream, RelaxedCapture), "cuStreamBeginCapture");

    /// <summary>Ends a capture that failed; the stream can be used again.</summary>
    public static void AbandonCapture(nint stream)
    {
        nint graph;
        if (Driver.Value.EndCapture(stream, &graph) == 0 && graph != 0) Driver.Value.GraphDestroy(graph);
    }

    /// <summary>Ends a capture and makes what can be launched of it; also returns the number of its nodes.</summary>
    public static (nint Executable, long Nodes) EndCapture(nint stream)
    {
        nint graph, executable;
        Check(Driver.Value.EndCapture(stream, &graph), "cuStreamEndCapture");
        try
        {
            nuint nodes;
            Check(Driver.Value.GetNodes(graph, null, &nodes), "cuGraphGetNodes");
            Check(Driver.Value.Instantiate(&executable, graph, 0), "cuGraphInstantiate");
            return (executable, (long)nodes);
        }
        finally
        {
            Driver.Value.GraphDestroy(graph);
        }
    }

    public static void Launch(nint executable, nint stream) => Check(Driver.Value.Launch(executable, stream), "cuGraphLaunch");

    public static void Destroy(nint executable) => Driver.Value.ExecDestroy(executable);

    /// <summary>Returns the free memory of the current device in bytes, as the driver counts it.</summary>
    public static long FreeMemory()
    {
        nuint free, total;
        Check(Driver.Value.MemoryInfo(&free, &total), "cuMemGetInfo");
        return (long)free;
    }

    /// <summary>Returns the free and the total memory of a device in bytes, whatever the context of this thread is.</summary>
    public static (long Free, long Total) Memory(int device)
    {
        nuint free = 0, total = 0;
        CudaRuntime.DeviceAt(device).Within(() =>
        {
            nuint first, second;
            Check(Driver.Value.MemoryInfo(&first, &second), "cuMemGetInfo");
            (free, total) = (first, second);
        });
        return ((long)free, (long)total);
    }

    /// <summary>Returns the name of a device, such as <c>NVIDIA H200</c>.</summary>
    public static string DeviceName(int device)
    {
        int handle;
        byte* name = stackalloc byte[256];
        Check(Driver.Value.DeviceGet(&handle, device), "cuDeviceGet");
        Check(Driver.Value.DeviceGetName(name, 256, handle), "cuDeviceGetName");
        return Marshal.PtrToStringUTF8((nint)name)!;
    }

    static void Check(int code, string what)
    {
        if (code == 0) return;
        byte* text;
        var reason = Driver.Value.ErrorText(code, &text) == 0 ? Marshal.PtrToStringUTF8((nint)text) : "unknown";
        throw new CudaException($"CUDA: {what} failed with error {code}: {reason}");
    }
}
