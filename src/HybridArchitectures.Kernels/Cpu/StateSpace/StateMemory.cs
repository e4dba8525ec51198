using System.Buffers;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Gives steps access to a state as float32 numbers: to the memory of a float32 state itself, or to copies of parts of a bfloat16 state, which are
/// rounded to nearest, ties to even, after the step.
/// </summary>
/// <param name="state">A contiguous state, float32 or bfloat16.</param>
unsafe readonly struct StateMemory(Tensor state)
{
    readonly bool isNarrow = state.dtype == ScalarType.BFloat16;
    readonly byte* memory = (byte*)TensorMemory.Pointer(state);

    /// <summary>Updates numbers of a state in place.</summary>
    public delegate void Update(float* numbers);

    /// <summary>Updates a part of the state.</summary>
    /// <param name="first">The index of the first number.</param>
    /// <param name="count">The number of numbers.</param>
    /// <param name="update">Receives the numbers.</param>
    public void Run(long first, int count, Update update)
    {
        if (!isNarrow)
        {
            update((float*)memory + first);
            return;
        }
        var copy = ArrayPool<float>.Shared.Rent(count);
        byte* part = memory + first * BFloat16Element.Size;
        fixed (float* numbers = copy)
        {
            for (long i = 0; i < count; i += RowMath.Lanes)
                RowMath.Store<Float32Element>((byte*)numbers, i, count, RowMath.Load<BFloat16Element>(part, i, count));
            update(numbers);
            for (long i = 0; i < count; i += RowMath.Lanes)
                RowMath.Store<BFloat16Element>(part, i, count, RowMath.Load<Float32Element>((byte*)numbers, i, count));
        }
        ArrayPool<float>.Shared.Return(copy);
    }
}
