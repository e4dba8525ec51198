using System.Runtime.CompilerServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>How a tensor lies in memory, as the driver packs it for the copy engine of compute capability 9.0.</summary>
[InlineArray(16)]
struct CudaTensorMap
{
    ulong word;
}
