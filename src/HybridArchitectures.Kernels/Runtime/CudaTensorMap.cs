using System.Runtime.CompilerServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Describes the layout of a tensor in memory, encoded by the driver for the copy engine of compute capability 9.0.</summary>
[InlineArray(16)]
struct CudaTensorMap
{
    ulong word;

    /// <summary>
    /// Returns the numbers themselves, for kernels that copy without the copy engine: the address, four sizes, and three strides in bytes, from the
    /// innermost dimension on.
    /// </summary>
    public static CudaTensorMap OfNumbers(nint address, (long Rows, long Tokens, long Heads, long Elements) sizes,
        (long Row, long Token, long Head) strides)
    {
        var map = new CudaTensorMap();
        ReadOnlySpan<long> numbers = [address, sizes.Elements, sizes.Heads, sizes.Tokens, sizes.Rows, strides.Head, strides.Token, strides.Row];
        for (int i = 0; i < numbers.Length; i++) map[i] = (ulong)numbers[i];
        return map;
    }
}
