namespace HybridArchitectures.Training.Distributed;

/// <summary>Selects the library that connects ranks.</summary>
public enum CollectiveEngine
{
    /// <summary>A single process without a library if there is one rank; otherwise NCCL for a GPU, and MPI for the CPU.</summary>
    Automatic,

    /// <summary>Uses MPI (Open MPI, MPICH, and libraries with the binary interface of MPICH), for tensors on the CPU.</summary>
    Mpi,

    /// <summary>Uses NCCL, for tensors on GPUs.</summary>
    Nccl,
}
