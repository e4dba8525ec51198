using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Rotates the pairs of every head in one pass, forward or in reverse (which is the gradient of a rotation).</summary>
static unsafe class RotaryKernel
{
    public static Tensor Rotate(RotaryInputs inputs, bool reverse)
    {
        using var scope = NewDisposeScope();
        var x = inputs.X;
        if (x.size(3) > 1 && x.stride(3) != 1) x = x.contiguous();
        var output = Rows.NewLike(x);
        var (cosines, sines) = (inputs.Cosine.contiguous(), inputs.Sine.contiguous());
        if (x.dtype == ScalarType.BFloat16) Rotate<BFloat16Element>(x, cosines, sines, output, reverse);
        else Rotate<Float32Element>(x, cosines, sines, output, reverse);
        return output.MoveToOuterDisposeScope();
    }

    static void Rotate<TElement>(Tensor x, Tensor cosine, Tensor sine, Tensor output, bool reverse) where TElement : struct, IElement
    {
        var (length, heads, size, half) = (x.size(1), x.size(2), x.size(3), cosine.size(2));
        var (rowStride, tokenStride, headStride) = (x.stride(0) * TElement.Size, x.stride(1) * TElement.Size, x.stride(2) * TElement.Size);
        long tableRow = cosine.size(0) == 1 ? 0 : length * half, bytes = size * TElement.Size;
        byte* from = (byte*)TensorMemory.Pointer(x), to = (byte*)TensorMemory.Pointer(output);
        float* cosines = (float*)TensorMemory.Pointer(cosine), sines = (float*)TensorMemory.Pointer(sine);
        CpuTasks.Share(x.size(0) * length, heads * size, (fromToken, toToken) =>
        {
            for (long token = fromToken; token < toToken; token++)
            {
                var (row, column) = (token / length, token % length);
                float* c = cosines + row * tableRow + column * half, s = sines + row * tableRow + column * half;
                for (long head = 0; head < heads; head++)
                    Head<TElement>(from + row * rowStride + column * tokenStride + head * headStride, to + (token * heads + head) * bytes, size,
                        c, s, half, reverse);
            }
        });
        GC.KeepAlive(x);
        GC.KeepAlive(cosine);
        GC.KeepAlive(sine);
        GC.KeepAlive(output);
    }

    /// <summary>Rotates one head of <paramref name="size"/> channels, of which twice <paramref name="half"/> are rotated.</summary>
    public static void Head<TElement>(byte* from, byte* to, long size, float* cosines, float* sines, long half, bool reverse = false)
        where TElement : struct, IElement
    {
        var sign = Vector256.Create(reverse ? -1f : 1f);
        for (long j = 0; j < half; j += RowMath.Lanes)
        {
            var cosine = RowMath.Load<Float32Element>((byte*)cosines, j, half);
            var sine = RowMath.Load<Float32Element>((byte*)sines, j, half) * sign;
            var (first, second) = (RowMath.Load<TElement>(from, j, half), RowMath.Load<TElement>(from + half * TElement.Size, j, half));
            RowMath.Store<TElement>(to, j, half, first * cosine - second * sine);
            RowMath.Store<TElement>(to + half * TElement.Size, j, half, second * cosine + first * sine);
        }
        long rest = (size - 2 * half) * TElement.Size, done = 2 * half * TElement.Size;
        if (rest > 0) Buffer.MemoryCopy(from + done, to + done, rest, rest);
    }
}
