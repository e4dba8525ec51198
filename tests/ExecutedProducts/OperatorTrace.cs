using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace ExecutedProducts;

/// <summary>
/// Reads the record that libtorch keeps of the operators it executes and the shapes of their inputs, which PyTorch calls an execution trace.
/// TorchSharp does not offer it. The functions are in libtorch under their C++ names, here those of Linux.
/// </summary>
static unsafe class OperatorTrace
{
    const string Start = "_ZN5torch8profiler4impl", Text = "ERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE";

    static readonly nint Library = NativeLibrary.Load("libtorch_cpu.so");
    static readonly delegate* unmanaged<CppString*, byte> Add = (delegate* unmanaged<CppString*, byte>)Export($"25addExecutionTraceObserver{Text}");
    static readonly delegate* unmanaged<void> Enable = (delegate* unmanaged<void>)Export("28enableExecutionTraceObserverEv");
    static readonly delegate* unmanaged<void> Disable = (delegate* unmanaged<void>)Export("29disableExecutionTraceObserverEv");
    static readonly delegate* unmanaged<void> Remove = (delegate* unmanaged<void>)Export("28removeExecutionTraceObserverEv");

    /// <summary>Writes what is executed until disposal, as JSON.</summary>
    public static void Write(string path, Action work)
    {
        byte[] bytes = [.. Encoding.UTF8.GetBytes(path), 0];
        fixed (byte* text = bytes)
        {
            // libstdc++'s string: where its bytes are, how many, and how many fit
            var name = new CppString { Data = text, Length = bytes.Length - 1, Capacity = bytes.Length - 1 };
            if (Add(&name) == 0) throw new InvalidOperationException($"libtorch does not trace to {path}");
        }
        Enable();
        try
        {
            work();
        }
        finally
        {
            Disable();
            Remove();
        }
    }

    static nint Export(string name) => NativeLibrary.GetExport(Library, Start + name);

    struct CppString
    {
        public byte* Data;
        public nint Length, Capacity, Unused;
    }
}
