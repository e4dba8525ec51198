using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>Contains the arguments of the kernels of the gated delta rule; <c>gated_delta.cuh</c> explains the fields.</summary>
[StructLayout(LayoutKind.Sequential)]
struct GatedDeltaArguments
{
    public GatedDeltaRows Query, Key, Value, Output, Error, Gradient, DQuery, DKey, DValue;
    public GatedDeltaNumbers Decay, Strength;
    public nint Starts, Lengths, Initial, FinalGradient, FinalState, InitialGradient, Solved, Scores, Numbers, States, StateGradients, DDecay,
        DStrength, ReadingKeys, ReadingQueries, WritingKeys, Remains;
    public long Length, Heads, Groups, Chunks;
}

/// <summary>Describes a bfloat16 tensor (rows, tokens, heads, elements) with a dense last dimension.</summary>
struct GatedDeltaRows
{
    public nint Base;
    public long RowStride, TokenStride, HeadStride;

    public static GatedDeltaRows From(Tensor? x) => x is null ? default
        : new() { Base = CudaMemory.Address(x), RowStride = x.stride(0), TokenStride = x.stride(1), HeadStride = x.stride(2) };
}

/// <summary>
/// Describes a float32 or bfloat16 tensor (rows, tokens, heads), or (rows, tokens, heads, elements) with a dense last dimension.
/// </summary>
struct GatedDeltaNumbers
{
    public CudaTyped Numbers;
    public long RowStride, TokenStride, HeadStride;

    public static GatedDeltaNumbers From(Tensor? x) => x is null ? default
        : new() { Numbers = CudaTyped.From(x), RowStride = x.stride(0), TokenStride = x.stride(1), HeadStride = x.stride(2) };
}
