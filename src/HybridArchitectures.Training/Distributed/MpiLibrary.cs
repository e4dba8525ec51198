using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Calls the MPI library of the system. Its C interface is the same everywhere, but its binary interface is not: Open MPI's handles are addresses of
/// exported objects, and MPICH's are 32-bit numbers. A handle is an address-sized number here, whose lower half is MPICH's handle.
/// </summary>
sealed unsafe class MpiLibrary
{
    const int Serialized = 2, MaxVersionText = 8192, MaxErrorText = 1024;

    readonly MpiFunctions functions;
    readonly nint library, inPlace, ignoredStatus;
    readonly bool isOpenMpi;

    MpiLibrary(nint library, string path)
    {
        this.library = library;
        functions = new(library, path);
        isOpenMpi = NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out _);
        (inPlace, ignoredStatus) = isOpenMpi ? (1, 0) : (-1, 1);
        Version = ReadVersion(path);
        World = Handle("comm_world", 0x44000000);
        Byte = Handle("byte", 0x4c00010d);
        TwoBytes = Handle("uint16_t", 0x4c00023c);
        Float32 = Handle("float", 0x4c00040a);
        Float64 = Handle("double", 0x4c00080b);
        Int64 = Handle("int64_t", 0x4c00083a);
    }

    /// <summary>Gets the first line of the text with which the library describes itself.</summary>
    public string Version { get; }

    public nint World { get; }

    public nint Byte { get; }

    public nint TwoBytes { get; }

    public nint Float32 { get; }

    public nint Float64 { get; }

    public nint Int64 { get; }

    /// <summary>Loads the library of the launcher that has started this process.</summary>
    public static MpiLibrary Load(string launcher)
    {
        string? named = Environment.GetEnvironmentVariable(MpiNames.PathVariable);
        string[] names = named is { Length: > 0 } ? [named] : MpiNames.For(launcher);
        foreach (string name in names)
            if (NativeLibrary.TryLoad(name, out nint library)) return new(library, name);
        throw new CollectiveException(named is { Length: > 0 }
            ? Require.Message($"the environment variable {MpiNames.PathVariable} is '{named}'", "the path of a library of MPI that can be loaded")
            : $"no MPI: {string.Join(", ", names)} cannot be loaded. Install Open MPI (on Debian and Ubuntu: openmpi-bin) or MPICH (mpich), or let "
            + $"the environment variable {MpiNames.PathVariable} name the library.");
    }

    string ReadVersion(string path)
    {
        byte* text = stackalloc byte[MaxVersionText];
        int length = 0;
        if (functions.LibraryVersion(text, &length) != 0) throw new CollectiveException($"'{path}' does not tell its version");
        string version = (Marshal.PtrToStringUTF8((nint)text) ?? "").Split('\n')[0].Trim();
        string[] sameInterface = ["MPICH", "Intel", "MVAPICH", "CRAY"];
        if (!isOpenMpi && !sameInterface.Any(name => version.Contains(name, StringComparison.OrdinalIgnoreCase)))
            throw new CollectiveException(Require.Message($"the MPI library '{path}' is '{version}'",
                "Open MPI, or a library with the binary interface of MPICH (MPICH, Intel MPI, MVAPICH, Cray MPICH)"));
        return version;
    }

    nint Handle(string name, int number) => isOpenMpi ? NativeLibrary.GetExport(library, $"ompi_mpi_{name}") : number;

    nint Operation(ReduceOperation operation) => operation switch
    {
        ReduceOperation.Max => Handle("op_max", 0x58000001),
        ReduceOperation.Min => Handle("op_min", 0x58000002),
        _ => Handle("op_sum", 0x58000003),
    };

    /// <summary>Starts MPI unless the program has done so, and returns rank and size. Errors are reported from then on.</summary>
    public (int Rank, int Size) Start()
    {
        int value;
        Check(functions.Finalized(&value), "MPI_Finalized");
        if (value != 0) throw new CollectiveException("MPI has been ended in this process, and cannot be started a second time");
        Check(functions.Initialized(&value), "MPI_Initialized");
        if (value == 0) Check(functions.InitThread(0, 0, Serialized, &value), "MPI_Init_thread");
        Check(functions.SetErrorHandler(World, Handle("errors_return", 0x54000001)), "MPI_Comm_set_errhandler");
        foreach (var (type, bytes) in new[] { (TwoBytes, 2), (Float32, 4), (Float64, 8), (Int64, 8) })
        {
            Check(functions.TypeSize(type, &value), "MPI_Type_size");
            if (value != bytes) throw new CollectiveException($"{Version} has a type of {value} bytes in the place of one of {bytes} bytes");
        }
        int rank, size;
        Check(functions.CommRank(World, &rank), "MPI_Comm_rank");
        Check(functions.CommSize(World, &size), "MPI_Comm_size");
        return (rank, size);
    }

    /// <summary>Divides the ranks of a group by a number, and returns the group of this rank, its number there, and its size.</summary>
    public (nint Group, int Rank, int Size) Split(nint group, int number, int key)
    {
        nint made = 0;
        int rank, size;
        Check(functions.Split(group, number, key, &made), "MPI_Comm_split");
        Check(functions.SetErrorHandler(made, Handle("errors_return", 0x54000001)), "MPI_Comm_set_errhandler");
        Check(functions.CommRank(made, &rank), "MPI_Comm_rank");
        Check(functions.CommSize(made, &size), "MPI_Comm_size");
        return (made, rank, size);
    }

    public void Free(nint group) => Check(functions.Free(&group), "MPI_Comm_free");

    public void End() => Check(functions.Finalize(), "MPI_Finalize");

    public nint AllReduce(nint data, int count, nint type, ReduceOperation operation, nint group)
    {
        nint request = 0;
        Check(functions.AllReduce(inPlace, data, count, type, Operation(operation), group, &request), "MPI_Iallreduce");
        return request;
    }

    public nint Reduce(nint data, int count, nint type, ReduceOperation operation, int root, bool isRoot, nint group)
    {
        nint request = 0;
        Check(functions.Reduce(isRoot ? inPlace : data, isRoot ? data : 0, count, type, Operation(operation), root, group, &request), "MPI_Ireduce");
        return request;
    }

    public nint ReduceScatter(nint input, nint output, int count, nint type, ReduceOperation operation, nint group)
    {
        nint request = 0;
        Check(functions.ReduceScatter(input, output, count, type, Operation(operation), group, &request), "MPI_Ireduce_scatter_block");
        return request;
    }

    public nint AllGather(nint input, nint output, int count, nint type, nint group)
    {
        nint request = 0;
        Check(functions.AllGather(input, count, type, output, count, type, group, &request), "MPI_Iallgather");
        return request;
    }

    public nint Broadcast(nint data, int count, nint type, int root, nint group)
    {
        nint request = 0;
        Check(functions.Broadcast(data, count, type, root, group, &request), "MPI_Ibcast");
        return request;
    }

    public nint Barrier(nint group)
    {
        nint request = 0;
        Check(functions.Barrier(group, &request), "MPI_Ibarrier");
        return request;
    }

    /// <summary>Makes progress, and returns whether a request is complete.</summary>
    public bool IsComplete(ref nint request)
    {
        int done = 0;
        // the result must not depend on whether a backward pass runs at the moment
        using var pause = FlushedDenormals.Suspend();
        fixed (nint* pointer = &request) Check(functions.Test(pointer, &done, ignoredStatus), "MPI_Test");
        return done != 0;
    }

    void Check(int code, string what)
    {
        if (code == 0) return;
        byte* text = stackalloc byte[MaxErrorText];
        int length = 0;
        string reason = functions.ErrorString(code, text, &length) == 0 ? Marshal.PtrToStringUTF8((nint)text) ?? "" : "unknown";
        throw new CollectiveException($"MPI: {what} failed with error {code}: {reason.Trim()}");
    }
}
