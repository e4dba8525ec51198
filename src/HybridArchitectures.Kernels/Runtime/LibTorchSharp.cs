using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

[StructLayout(LayoutKind.Sequential)]
unsafe struct NativeTensors
{
    public nint* Data;
    public long Count;
}

[StructLayout(LayoutKind.Sequential)]
struct NativeNode
{
    public nint Shared, Weak;
}

/// <summary>
/// Declares exports of TorchSharp's native library that its managed API does not offer. They can change with every version, so the package depends on
/// exactly one version of TorchSharp.
/// </summary>
static unsafe partial class LibTorchSharp
{
    const string Library = NativeNames.TorchSharp;

    [LibraryImport(Library)]
    public static partial NativeNode THSAutograd_CSharpNode_ctor(nint apply, nint deleted);

    [LibraryImport(Library)]
    public static partial void THSAutograd_CSharpNode_disposeSharedPtr(NativeNode node);

    [LibraryImport(Library)]
    public static partial void THSAutograd_CSharpNode_disposeWeakPtr(NativeNode node);

    [LibraryImport(Library)]
    public static partial void THSAutograd_CSharpNode_setNextEdges(
        NativeNode node, NativeTensors inputs, [MarshalAs(UnmanagedType.U1)] bool executable);

    [LibraryImport(Library)]
    public static partial void THSAutograd_CSharpNode_clearInputMetadata(NativeNode node);

    [LibraryImport(Library)]
    public static partial void THSAutograd_Function_wrapOutputs(
        NativeTensors inputs, NativeTensors nonDifferentiable, NativeTensors dirty, NativeTensors outputs, NativeNode node, nint allocate);

    [LibraryImport(Library)]
    public static partial nint THSAutograd_SavedVariable_ctor(nint tensor, NativeNode node, [MarshalAs(UnmanagedType.U1)] bool isInplace);

    [LibraryImport(Library)]
    public static partial nint THSAutograd_SavedVariable_unpack(nint saved, NativeNode node);

    [LibraryImport(Library)]
    public static partial void THSAutograd_SavedVariable_dispose(nint saved);

    [LibraryImport(Library)]
    public static partial void THSTensor_dispose(nint tensor);
}
