using System.Globalization;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Calls NVIDIA's library for exchange between GPUs.</summary>
sealed unsafe class NcclLibrary
{
    /// <summary>Specifies the size in bytes of the id with which ranks find each other.</summary>
    public const int IdBytes = 128;

    const int InProgress = 7;

    static readonly Lazy<NcclLibrary> Loaded = new(Find);

    readonly delegate* unmanaged<int*, int> getVersion;
    readonly delegate* unmanaged<UniqueId*, int> getUniqueId;
    readonly delegate* unmanaged<nint*, int, UniqueId, int, int> commInitRank;
    readonly delegate* unmanaged<nint, int> commDestroy, commAbort;
    readonly delegate* unmanaged<nint, int*, int> getAsyncError;
    readonly delegate* unmanaged<int, byte*> getErrorString;
    readonly delegate* unmanaged<nint, byte*> getLastError;
    readonly delegate* unmanaged<int> groupStart, groupEnd;
    readonly delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int> allReduce, reduceScatter;
    readonly delegate* unmanaged<nint, nint, nuint, int, nint, nint, int> allGather;
    readonly delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int> broadcast;
    readonly delegate* unmanaged<nint, nint, nuint, int, int, int, nint, nint, int> reduce;
    readonly delegate* unmanaged<nint, int, int, nint*, nint, int> split;

    NcclLibrary(nint library)
    {
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        getVersion = (delegate* unmanaged<int*, int>)Export("ncclGetVersion");
        getUniqueId = (delegate* unmanaged<UniqueId*, int>)Export("ncclGetUniqueId");
        commInitRank = (delegate* unmanaged<nint*, int, UniqueId, int, int>)Export("ncclCommInitRank");
        commDestroy = (delegate* unmanaged<nint, int>)Export("ncclCommDestroy");
        commAbort = (delegate* unmanaged<nint, int>)Export("ncclCommAbort");
        getAsyncError = (delegate* unmanaged<nint, int*, int>)Export("ncclCommGetAsyncError");
        getErrorString = (delegate* unmanaged<int, byte*>)Export("ncclGetErrorString");
        getLastError = (delegate* unmanaged<nint, byte*>)(NativeLibrary.TryGetExport(library, "ncclGetLastError", out nint last) ? last : 0);
        groupStart = (delegate* unmanaged<int>)Export("ncclGroupStart");
        groupEnd = (delegate* unmanaged<int>)Export("ncclGroupEnd");
        allReduce = (delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int>)Export("ncclAllReduce");
        reduceScatter = (delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int>)Export("ncclReduceScatter");
        allGather = (delegate* unmanaged<nint, nint, nuint, int, nint, nint, int>)Export("ncclAllGather");
        broadcast = (delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int>)Export("ncclBroadcast");
        reduce = (delegate* unmanaged<nint, nint, nuint, int, int, int, nint, nint, int>)Export("ncclReduce");
        NativeLibrary.TryGetExport(library, "ncclCommSplit", out nint found);           // since NCCL 2.18
        split = (delegate* unmanaged<nint, int, int, nint*, nint, int>)found;
        int version;
        Check(getVersion(&version), "ncclGetVersion", 0);
        Version = string.Create(CultureInfo.InvariantCulture, $"NCCL {version / 10000}.{version / 100 % 100}.{version % 100}");
    }

    /// <summary>Gets the name and version.</summary>
    public string Version { get; }

    /// <summary>Returns the library, which is loaded once.</summary>
    public static NcclLibrary Load() => Loaded.Value;

    static NcclLibrary Find()
    {
        foreach (string name in Candidates())
            if (NativeLibrary.TryLoad(name, out nint library)) return new(library);
        throw new CollectiveException(
            $"no NCCL: libnccl.so.2 is neither in the folder of libtorch ('{TorchLibrary.Folder}'), nor in a Python package next to it, nor on the "
            + "system's library path. Install it from NVIDIA (libnccl2) or with pip (nvidia-nccl-cu12, nvidia-nccl-cu13), and add its folder to "
            + "LD_LIBRARY_PATH.");
    }

    // first the one that libtorch itself has loaded
    static IEnumerable<string> Candidates()
    {
        const string name = "libnccl.so.2";
        yield return name;
        yield return Path.Combine(TorchLibrary.Folder, name);
        yield return Path.GetFullPath(Path.Combine(TorchLibrary.Folder, "..", "..", "nvidia", "nccl", "lib", name));
    }

    public byte[] CreateId()
    {
        UniqueId id;
        Check(getUniqueId(&id), "ncclGetUniqueId", 0);
        return new Span<byte>(&id, IdBytes).ToArray();
    }

    /// <summary>Joins the ranks that have the same id, on the current device. This waits for all of them.</summary>
    public nint Connect(byte[] id, int rank, int size)
    {
        UniqueId copy;
        id.CopyTo(new Span<byte>(&copy, IdBytes));
        nint communicator = 0;
        Check(commInitRank(&communicator, size, copy, rank), "ncclCommInitRank", 0);
        return communicator;
    }

    /// <summary>Returns the communicator of the ranks that pass the same number. Waits for all ranks of the communicator.</summary>
    public nint Split(nint communicator, int number, int rank)
    {
        if (split == null)
            throw new CollectiveException(Require.Message($"the library is {Version}, which cannot divide ranks", "NCCL 2.18 or later"));
        nint made = 0;
        Check(split(communicator, number, rank, &made, 0), "ncclCommSplit", communicator);
        return made;
    }

    public void Destroy(nint communicator) => Check(commDestroy(communicator), "ncclCommDestroy", 0);

    /// <summary>Ends the work of a communicator that waits for other ranks, from any thread.</summary>
    public void Abort(nint communicator) => commAbort(communicator);

    /// <summary>Returns the error that occurred while queued work ran. Null if there is none.</summary>
    public string? AsyncError(nint communicator)
    {
        int code;
        if (getAsyncError(communicator, &code) != 0 || code is 0 or InProgress) return null;
        return Describe(code, communicator);
    }

    public void StartGroup() => Check(groupStart(), "ncclGroupStart", 0);

    public void EndGroup(nint communicator) => Check(groupEnd(), "ncclGroupEnd", communicator);

    public void AllReduce(nint data, long count, ScalarType type, ReduceOperation operation, nint communicator, nint stream) =>
        Check(allReduce(data, data, (nuint)count, Type(type), Operation(operation), communicator, stream), "ncclAllReduce", communicator);

    public void ReduceScatter(nint input, nint output, long count, ScalarType type, ReduceOperation operation, nint communicator, nint stream) =>
        Check(reduceScatter(input, output, (nuint)count, Type(type), Operation(operation), communicator, stream), "ncclReduceScatter", communicator);

    public void AllGather(nint input, nint output, long count, ScalarType type, nint communicator, nint stream) =>
        Check(allGather(input, output, (nuint)count, Type(type), communicator, stream), "ncclAllGather", communicator);

    public void Broadcast(nint data, long count, ScalarType type, int root, nint communicator, nint stream) =>
        Check(broadcast(data, data, (nuint)count, Type(type), root, communicator, stream), "ncclBroadcast", communicator);

    public void Reduce(nint data, long count, ScalarType type, ReduceOperation operation, int root, nint communicator, nint stream) =>
        Check(reduce(data, data, (nuint)count, Type(type), Operation(operation), root, communicator, stream), "ncclReduce", communicator);

    static int Type(ScalarType type) => type switch
    {
        ScalarType.Byte => 1,
        ScalarType.Int64 => 4,
        ScalarType.Float32 => 7,
        ScalarType.Float64 => 8,
        _ => 9,
    };

    static int Operation(ReduceOperation operation) => operation switch { ReduceOperation.Max => 2, ReduceOperation.Min => 3, _ => 0 };

    void Check(int code, string what, nint communicator)
    {
        if (code is not (0 or InProgress)) throw new CollectiveException($"NCCL: {what} failed: {Describe(code, communicator)}");
    }

    string Describe(int code, nint communicator)
    {
        string reason = Marshal.PtrToStringUTF8((nint)getErrorString(code)) ?? "unknown";
        string last = getLastError == null ? "" : Marshal.PtrToStringUTF8((nint)getLastError(communicator)) ?? "";
        return last.Length == 0 ? $"{reason} (error {code})" : $"{reason} (error {code}): {last.Trim()}";
    }

    // ncclUniqueId, which is passed by value
    [StructLayout(LayoutKind.Sequential, Size = IdBytes)]
    struct UniqueId
    {
        public long First;
    }
}
