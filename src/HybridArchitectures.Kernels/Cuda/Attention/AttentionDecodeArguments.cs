using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Contains the arguments of the decoding kernels. <c>attention_decode.cuh</c> explains the fields and checks the size.</summary>
[StructLayout(LayoutKind.Sequential)]
struct AttentionDecodeArguments
{
    public nint Query, Keys, Values, Lengths, SinkLogits, Output, Sums, States, Arrivals;
    public long QueryRow, QueryToken, QueryHead, KeyRow, KeyToken, KeyHead, ValueRow, ValueToken, ValueHead;
    public long Queries, Heads, KeyHeads, Capacity, HeadSize, ValueSize;
    public long Window, Sinks, Ring;
    public long MaxParts, Parts;
    public long Rows;
    public float Scale, Cap;
}
