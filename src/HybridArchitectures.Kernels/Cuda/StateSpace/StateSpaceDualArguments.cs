using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>
/// Contains the arguments of the kernels of <c>StateSpaceDual.cu</c>, which documents the names. Its size is a multiple of 64 bytes because of the
/// tensor maps.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 7 * 128 + 512)]
struct StateSpaceDualArguments
{
    public CudaTensorMap XMap, BMap, CMap, OutputMap, GradientMap, StatesMap, StateGradientsMap;
    public CudaTyped RawDt;
    public nint X, B, C, Gradient, A, D, DtBias, Incoming, FinalGradient, Starts, Lengths, Dt, DecaySums, DecaySumsLow, DocumentBegins, Output,
        States, StateGradients, Outgoing;
    public nint SuffixTrace, PrefixTrace, DirectTrace, InnerTrace, DD, DB, DC;
    public CudaTyped DDt;
    public nint DA, DDtBias;
    public long Batch, Length, Heads, Groups, Chunks, Segments, ChunksPerSegment, Splits, FirstRow;
    public long XRow, XToken, BRow, BToken, CRow, CToken, GradientRow, GradientToken, DtRow, DtToken;
    public long OutputRow, OutputToken, ProductRow, ProductToken, DDtRow, DDtToken;
    public long Wide, Softplus, OutgoingSegments;
    public float MinDt, MaxDt;
}
