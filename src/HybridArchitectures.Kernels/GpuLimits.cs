namespace HybridArchitectures.Kernels;

/// <summary>Contains the limits of a GPU that determine how kernels are launched, and therefore how much they save for their gradients.</summary>
/// <param name="ComputeCapability">Ten times the compute capability: 90 for 9.0.</param>
/// <param name="SharedMemory">The bytes of shared memory that one block can use.</param>
/// <param name="Multiprocessors">The number of multiprocessors.</param>
public sealed record GpuLimits(int ComputeCapability, int SharedMemory, int Multiprocessors)
{
    /// <summary>Gets the limits of an H100 or H200: compute capability 9.0, 227 KiB of shared memory per block, 132 multiprocessors.</summary>
    public static GpuLimits H100 { get; } = new(90, 232_448, 132);
}
