using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Contains the arguments of the kernels of <c>AttentionForward.cu</c> and <c>AttentionBackward.cu</c>. <c>attention.cuh</c> documents the fields.
/// The size is a multiple of 64 bytes because of the tensor maps.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 7 * 128 + 256)]
struct AttentionArguments
{
    public CudaTensorMap Query, Key, Value, Output, Gradient, DKey, DValue;
    public nint Bounds, Ranges, Visitors, Logarithms, Delta, DQuerySums, Turns, Ticket, DQuery, PlainOutput, PlainGradient;
    public long GradientRow, GradientToken, GradientHead;
    public long Batch, Queries, Keys, Heads, KeyHeads, QuerySize, ValueSize;
    public long Window, Sinks, Together;
    public nint SinkLogits;
    public float Scale, ScaleLog2, Cap, CapLog2;
}
