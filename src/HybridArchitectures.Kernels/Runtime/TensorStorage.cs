using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Releases and allocates the memory behind a tensor while the tensor, its views, and what autograd has saved of them stay valid. libtorch offers it
/// as C++ functions alone (<c>at::native::resize_bytes_cpu</c> and <c>resize_bytes_cuda</c>).
/// </summary>
static unsafe class TensorStorage
{
    /// <summary>Specifies the names of the functions for the CPU and for CUDA, as each compiler encodes them.</summary>
    internal const string Cpu = "_ZN2at6native16resize_bytes_cpuEPN3c1011StorageImplEm",
        WindowsCpu = "?resize_bytes_cpu@native@at@@YAXPEAUStorageImpl@c10@@_K@Z";

    internal const string Cuda = "_ZN2at6native17resize_bytes_cudaEPN3c1011StorageImplEm",
        WindowsCuda = "?resize_bytes_cuda@native@at@@YAXPEAUStorageImpl@c10@@_K@Z";

    // where the tensor of libtorch refers to its storage, and the storage to its memory
    static readonly int[] TensorOffsets = [16, 24], StorageOffsets = [16, 24];

    static readonly Lazy<int> Offset = new(FindOffset);
    static readonly Lazy<nint> ResizeCpu = new(() => Find(NativeNames.TorchCpu, Cpu, WindowsCpu));
    static readonly Lazy<nint> ResizeCuda = new(() => Find(NativeNames.TorchCuda, Cuda, WindowsCuda));

    /// <summary>Checks that the libtorch of this process can resize the memory of tensors on a device.</summary>
    /// <exception cref="NotSupportedException">It cannot.</exception>
    public static void RequireSupport(Device device)
    {
        TorchLibrary.EnsureLoaded();
        _ = (Offset.Value, device.type == DeviceType.CUDA ? ResizeCuda.Value : ResizeCpu.Value);
    }

    static nint Find(string library, string name, string windowsName)
    {
        if (NativeLibrary.TryLoad(library, typeof(TensorStorage).Assembly, null, out nint loaded)
            && (NativeLibrary.TryGetExport(loaded, name, out nint export) || NativeLibrary.TryGetExport(loaded, windowsName, out export)))
            return export;
        throw new NotSupportedException($"{NativeNames.File(library)} has no function {name}; expected libtorch 2.10");
    }

    static int FindOffset()
    {
        using var scope = NewDisposeScope();
        var probe = zeros([1000], ScalarType.Float32);
        nint data = TensorMemory.Pointer(probe), tensor = *(nint*)probe.Handle;
        foreach (int offset in TensorOffsets)
        {
            nint storage = *(nint*)(tensor + offset);
            // a counter of references is no address
            if (storage < 1 << 16 || storage % sizeof(nint) != 0) continue;
            if (Array.Exists(StorageOffsets, inner => *(nint*)(storage + inner) == data))
            {
                GC.KeepAlive(probe);
                return offset;
            }
        }
        throw new NotSupportedException("the tensors of this libtorch have an unknown layout; expected libtorch 2.10");
    }

    /// <summary>Releases the memory of a tensor and its views. They must not be read until <see cref="Allocate"/>.</summary>
    public static void Release(Tensor whole) => Resize(whole, 0);

    /// <summary>Allocates memory for a tensor that was released. Its values are undefined.</summary>
    /// <param name="whole">A contiguous tensor that begins at the start of its memory.</param>
    public static void Allocate(Tensor whole)
    {
        long bytes = whole.NumberOfElements * whole.ElementSize;
        // a lack of memory is an exception here, but would end the process in the function of libtorch, which gets this memory again
        using (var probe = empty([bytes], ScalarType.Byte, whole.device)) GC.KeepAlive(probe);
        Resize(whole, bytes);
    }

    static void Resize(Tensor whole, long bytes)
    {
        nint function = whole.device_type == DeviceType.CUDA ? ResizeCuda.Value : ResizeCpu.Value;
        nint storage = *(nint*)(*(nint*)whole.Handle + Offset.Value);
        ((delegate* unmanaged<nint, nuint, void>)function)(storage, (nuint)bytes);
        if (bytes > 0 && TensorMemory.Pointer(whole) == 0) throw new InvalidOperationException("libtorch has not allocated the memory of a tensor");
        GC.KeepAlive(whole);
    }

    /// <summary>Makes a tensor a view of the memory of another one, with its shape. What autograd knows of the tensor does not change.</summary>
    public static void SetData(Tensor tensor, Tensor data) => TorchOperator.CallMany("aten::set_data", "", 0, tensor, data);
}
