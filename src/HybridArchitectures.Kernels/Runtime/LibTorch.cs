using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Declares the C interface of libtorch for extensions (the stable-ABI shim). Functions return 0 on success; their error text goes to stderr.
/// </summary>
static unsafe partial class LibTorch
{
    const string Library = NativeNames.TorchCpu;

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int torch_call_dispatcher(string op, string overload, ulong* stack, ulong abiVersion);

    [LibraryImport(Library)]
    public static partial int aoti_torch_new_tensor_handle(nint tensor, out nint copy);

    [LibraryImport(Library)]
    public static partial int aoti_torch_delete_tensor_object(nint tensor);

    [LibraryImport(Library)]
    public static partial ulong aoti_torch_abi_version();

    [LibraryImport(Library)]
    public static partial int torch_new_list_reserve_size(nuint size, out nint list);

    [LibraryImport(Library)]
    public static partial int torch_list_push_back(nint list, ulong value);

    [LibraryImport(Library)]
    public static partial int aoti_torch_get_data_ptr(nint tensor, out nint pointer);

    /// <summary>
    /// Calls <paramref name="body"/> with ranges that cover [begin, end), each with at least <paramref name="grain"/> indices, on the threads of
    /// libtorch, including this one. From inside such a range it makes one call.
    /// </summary>
    [LibraryImport(Library)]
    public static partial int torch_parallel_for(long begin, long end, long grain, delegate* unmanaged<long, long, nint, void> body, nint context);

    /// <summary>
    /// Returns <c>torch::autograd::get_current_graph_task_keep_graph()</c>: retain_graph of the backward pass that runs on this thread.
    /// </summary>
    public static bool CurrentBackwardKeepsGraph() => OperatingSystem.IsWindows() ? KeepsGraphOnWindows() : KeepsGraph();

    // each compiler encodes the name of a C++ function differently
    [LibraryImport(Library, EntryPoint = "_ZN5torch8autograd33get_current_graph_task_keep_graphEv")]
    [return: MarshalAs(UnmanagedType.U1)]
    private static partial bool KeepsGraph();

    [LibraryImport(Library, EntryPoint = "?get_current_graph_task_keep_graph@autograd@torch@@YA_NXZ")]
    [return: MarshalAs(UnmanagedType.U1)]
    private static partial bool KeepsGraphOnWindows();
}
