using System.Runtime.CompilerServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Describes the layout of a tensor in memory, encoded by the driver for the copy engine of compute capability 9.0.</summary>
[InlineArray(16)]
struct CudaTensorMap
{
    ulong word;
}
