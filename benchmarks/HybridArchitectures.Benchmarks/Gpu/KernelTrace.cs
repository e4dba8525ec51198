using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Records when each kernel begins and ends on the GPU, by the activity interface of CUPTI, which PyTorch or a CUDA toolkit has.</summary>
static unsafe class KernelTrace
{
    const int Memcpy = 1, Memset = 2, ConcurrentKernel = 10, BufferBytes = 8 << 20;

    static readonly string[] Names = ["libcupti.so.13", "libcupti.so.12", "libcupti.so"];

    static readonly int[] Kinds = [ConcurrentKernel, Memcpy, Memset];
    static readonly List<Entry> Entries = [];
    static nint library;
    static delegate* unmanaged<nint, nuint, nint*, int> next;

    /// <summary>Describes a launch. Times are in nanoseconds.</summary>
    internal readonly record struct Entry(string Name, ulong Start, ulong End);

    /// <summary>Runs work and returns its kernels, copies and fills in the order of their beginnings; null without CUPTI.</summary>
    public static IReadOnlyList<Entry>? Record(Action work)
    {
        if (!Start()) return null;
        work();
        return Stop();
    }

    /// <summary>Starts to record. Returns false, and records nothing, without CUPTI.</summary>
    public static bool Start()
    {
        if (library == 0 && !Load()) return false;
        Entries.Clear();
        var enable = (delegate* unmanaged<int, int>)NativeLibrary.GetExport(library, "cuptiActivityEnable");
        foreach (int kind in Kinds) enable(kind);
        return true;
    }

    /// <summary>Ends the record and returns the kernels, copies and fills in the order of their beginnings.</summary>
    public static IReadOnlyList<Entry> Stop()
    {
        var disable = (delegate* unmanaged<int, int>)NativeLibrary.GetExport(library, "cuptiActivityDisable");
        var flush = (delegate* unmanaged<uint, int>)NativeLibrary.GetExport(library, "cuptiActivityFlushAll");
        flush(0);
        foreach (int kind in Kinds) disable(kind);
        flush(1);
        return [.. Entries.OrderBy(entry => entry.Start)];
    }

    static bool Load()
    {
        foreach (string name in Names)
            if (NativeLibrary.TryLoad(name, out library)) break;
        if (library == 0) return false;
        next = (delegate* unmanaged<nint, nuint, nint*, int>)NativeLibrary.GetExport(library, "cuptiActivityGetNextRecord");
        var register = (delegate* unmanaged<delegate* unmanaged[Cdecl]<nint*, nuint*, nuint*, void>,
            delegate* unmanaged[Cdecl]<nint, uint, nint, nuint, nuint, void>, int>)NativeLibrary.GetExport(library, "cuptiActivityRegisterCallbacks");
        return register(&Request, &Complete) == 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void Request(nint* buffer, nuint* size, nuint* records)
    {
        *buffer = (nint)NativeMemory.AlignedAlloc(BufferBytes, 8);
        *size = BufferBytes;
        *records = 0;
    }

    // kernels: times at 16 and 24, the name at 104; copies and fills: times from 16 or 32 on are not needed, only that they are there
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void Complete(nint context, uint stream, nint buffer, nuint size, nuint valid)
    {
        nint record = 0;
        lock (Entries)
        {
            while (next(buffer, valid, &record) == 0)
            {
                byte* at = (byte*)record;
                int kind = *(int*)at;
                if (kind == ConcurrentKernel)
                    Entries.Add(new(Marshal.PtrToStringUTF8(*(nint*)(at + 104)) ?? "?", *(ulong*)(at + 16), *(ulong*)(at + 24)));
                else if (kind is Memcpy or Memset)
                    Entries.Add(new(kind == Memset ? "fill" : "copy", *(ulong*)(at + 16), *(ulong*)(at + 24)));
            }
        }
        NativeMemory.AlignedFree((void*)buffer);
    }
}
