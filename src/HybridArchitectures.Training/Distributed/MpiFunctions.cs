using System.Runtime.InteropServices;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Contains the functions of an MPI library. Handles and addresses are address-sized numbers.</summary>
sealed unsafe class MpiFunctions(nint library, string path)
{
    public readonly delegate* unmanaged<nint, nint, int, int*, int> InitThread =
        (delegate* unmanaged<nint, nint, int, int*, int>)Export(library, path, "MPI_Init_thread");

    public readonly delegate* unmanaged<int*, int> Initialized =
        (delegate* unmanaged<int*, int>)Export(library, path, "MPI_Initialized");

    public readonly delegate* unmanaged<int*, int> Finalized =
        (delegate* unmanaged<int*, int>)Export(library, path, "MPI_Finalized");

    public readonly delegate* unmanaged<int> Finalize =
        (delegate* unmanaged<int>)Export(library, path, "MPI_Finalize");

    public readonly delegate* unmanaged<nint, int*, int> CommRank =
        (delegate* unmanaged<nint, int*, int>)Export(library, path, "MPI_Comm_rank");

    public readonly delegate* unmanaged<nint, int*, int> CommSize =
        (delegate* unmanaged<nint, int*, int>)Export(library, path, "MPI_Comm_size");

    public readonly delegate* unmanaged<nint, int*, int> TypeSize =
        (delegate* unmanaged<nint, int*, int>)Export(library, path, "MPI_Type_size");

    public readonly delegate* unmanaged<nint, nint, int> SetErrorHandler =
        (delegate* unmanaged<nint, nint, int>)Export(library, path, "MPI_Comm_set_errhandler");

    public readonly delegate* unmanaged<int, byte*, int*, int> ErrorString =
        (delegate* unmanaged<int, byte*, int*, int>)Export(library, path, "MPI_Error_string");

    public readonly delegate* unmanaged<byte*, int*, int> LibraryVersion =
        (delegate* unmanaged<byte*, int*, int>)Export(library, path, "MPI_Get_library_version");

    public readonly delegate* unmanaged<nint, nint, int, nint, nint, nint, nint*, int> AllReduce =
        (delegate* unmanaged<nint, nint, int, nint, nint, nint, nint*, int>)Export(library, path, "MPI_Iallreduce");

    public readonly delegate* unmanaged<nint, nint, int, nint, nint, int, nint, nint*, int> Reduce =
        (delegate* unmanaged<nint, nint, int, nint, nint, int, nint, nint*, int>)Export(library, path, "MPI_Ireduce");

    public readonly delegate* unmanaged<nint, nint, int, nint, nint, nint, nint*, int> ReduceScatter =
        (delegate* unmanaged<nint, nint, int, nint, nint, nint, nint*, int>)Export(library, path, "MPI_Ireduce_scatter_block");

    public readonly delegate* unmanaged<nint, int, nint, nint, int, nint, nint, nint*, int> AllGather =
        (delegate* unmanaged<nint, int, nint, nint, int, nint, nint, nint*, int>)Export(library, path, "MPI_Iallgather");

    public readonly delegate* unmanaged<nint, int, nint, int, nint, nint*, int> Broadcast =
        (delegate* unmanaged<nint, int, nint, int, nint, nint*, int>)Export(library, path, "MPI_Ibcast");

    public readonly delegate* unmanaged<nint, nint*, int> Barrier =
        (delegate* unmanaged<nint, nint*, int>)Export(library, path, "MPI_Ibarrier");

    public readonly delegate* unmanaged<nint*, int*, nint, int> Test =
        (delegate* unmanaged<nint*, int*, nint, int>)Export(library, path, "MPI_Test");

    public readonly delegate* unmanaged<nint, int, int, nint*, int> Split =
        (delegate* unmanaged<nint, int, int, nint*, int>)Export(library, path, "MPI_Comm_split");

    public readonly delegate* unmanaged<nint*, int> Free =
        (delegate* unmanaged<nint*, int>)Export(library, path, "MPI_Comm_free");

    static nint Export(nint library, string path, string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address
        : throw new CollectiveException(Require.Message($"'{path}' has no function {name}", "a library of MPI 3.0 or later"));
}
