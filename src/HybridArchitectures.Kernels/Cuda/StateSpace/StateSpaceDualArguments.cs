using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>
/// Contains the arguments of the kernels of <c>StateSpaceDual.cu</c>, which documents the names. Its size is a multiple of 64 bytes because of the
/// tensor maps.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 7 * 128 + 448)]
struct StateSpaceDualArguments
{
    public CudaTensorMap InMap, KeyMap, QueryMap, OutMap, GradientMap, StatesMap, BackStatesMap;
    public CudaTyped TimeStep;
    public nint In, Key, Query, Gradient, A, Skip, Bias, Incoming, FinalGradient, Starts, Lengths, Delta, Cum, CumLow, Begins, Out, States,
        BackStates, Outgoing;
    public nint Suffix, Prefix, Direct, Inner, Diagonal, DKey, DQuery;
    public CudaTyped DTimeStep;
    public nint DA, DBias;
    public long Batch, Length, Heads, Groups, Chunks, Segments, ChunksPerSegment, Splits, FirstRow;
    public long InRow, InToken, KeyRow, KeyToken, QueryRow, QueryToken, GradientRow, GradientToken, StepRow, StepToken;
    public long Wide, Softplus, OutgoingSegments;
    public float Minimum, Maximum;
}
