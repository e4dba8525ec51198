using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Implements the causal convolution on the CPU. <see cref="CausalConvolutionTask{TElement}"/> contains the loops.</summary>
static unsafe class CausalConvolutionCpu
{
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout) =>
        x.dtype == ScalarType.BFloat16 ? Forward<BFloat16Element>(x, weight, bias, silu, initialState, layout)
            : Forward<Float32Element>(x, weight, bias, silu, initialState, layout);

    static (Tensor Output, Tensor FinalState) Forward<TElement>(
        Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout)
        where TElement : struct, IElement
    {
        var (rowLengths, starts) = (layout?.RowLengths, layout?.Starts);
        var results = Autograd.Apply([x, weight, bias, initialState], context =>
        {
            var task = new CausalConvolutionTask<TElement>(x, weight, bias, silu, initialState, rowLengths, starts);
            var (output, final) = (CpuRows.New(x.dtype, x.size(0), x.size(1), x.size(2)),
                CpuRows.New(x.dtype, x.size(0), weight.size(1) - 1, x.size(2)));
            task.Forward(output, final);
            context.Save(x, weight, bias, initialState, starts);
            return [output, final];
        }, Gradient<TElement>(silu, rowLengths));
        return (results[0], results[1]);
    }

    // uses only saved tensors, because the caller's tensors may be disposed before the backward pass
    static Func<BackwardContext, Tensor?[]> Gradient<TElement>(bool silu, IReadOnlyList<long>? rowLengths) where TElement : struct, IElement =>
        context =>
    {
        var (x, weight, bias, initialState, starts) = (context.Saved[0]!, context.Saved[1]!, context.Saved[2], context.Saved[3], context.Saved[4]);
        var task = new CausalConvolutionTask<TElement>(x, weight, bias, silu, initialState, rowLengths, starts);
        var dInput = CpuRows.New(x.dtype, x.size(0), x.size(1), x.size(2));
        var dInitial = initialState is null ? null : CpuRows.New(x.dtype, x.size(0), weight.size(1) - 1, x.size(2));
        var (dWeight, dBias) = task.Backward(
            context.Gradients[0] ?? zeros([x.size(0), x.size(1), x.size(2)], x.dtype), context.Gradients[1], dInput, dInitial);
        return [dInput, CpuRows.As(dWeight, weight), bias is null ? null : CpuRows.As(dBias, bias), dInitial];
    };

    /// <summary>Computes one token for every row and shifts its state in the same pass.</summary>
    public static Tensor Step(Tensor state, Tensor x, Tensor weight, Tensor? bias, bool silu) =>
        x.dtype == ScalarType.BFloat16 ? Step<BFloat16Element>(state, x, weight, bias, silu) : Step<Float32Element>(state, x, weight, bias, silu);

    static Tensor Step<TElement>(Tensor state, Tensor x, Tensor weight, Tensor? bias, bool silu) where TElement : struct, IElement
    {
        using var scope = NewDisposeScope();
        var (input, weights, biases) = (Rows.From(x), CpuRows.Whole(weight)!, CpuRows.Whole(bias));
        long channels = x.size(1), width = weight.size(1), bytes = channels * TElement.Size;
        var output = CpuRows.New(x.dtype, x.size(0), channels);
        float* w = CpuRows.Pointer(weights), shift = CpuRows.Pointer(biases);
        byte* y = (byte*)TensorMemory.Pointer(output), past = (byte*)TensorMemory.Pointer(state);
        CpuTasks.Share(x.size(0), channels * width, (from, to) =>
        {
            for (long row = from; row < to; row++)
            {
                byte* token = input[row], before = past + row * (width - 1) * bytes;
                for (long c = 0; c < channels; c += RowMath.Lanes)
                {
                    var sum = shift == null ? default : RowMath.Load<Float32Element>((byte*)shift, c, channels);
                    for (long tap = 0; tap < width; tap++)
                    {
                        var value = RowMath.Load<TElement>(tap < width - 1 ? before + tap * bytes : token, c, channels);
                        sum = Vector256.MultiplyAddEstimate(Taps(w + c * width + tap, width, channels - c), value, sum);
                        if (tap > 0) RowMath.Store<TElement>(before + (tap - 1) * bytes, c, channels, value);
                    }
                    if (silu) sum *= VectorMath.Sigmoid(sum);
                    RowMath.Store<TElement>(y + row * bytes, c, channels, sum);
                }
            }
        });
        GC.KeepAlive((state, input.Tensor, weights, biases));
        return output.MoveToOuterDisposeScope();
    }

    // one filter weight of eight channels, or of the remaining ones
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Taps(float* w, long width, long channels)
    {
        if (channels >= RowMath.Lanes)
            return Vector256.Create(w[0], w[width], w[2 * width], w[3 * width], w[4 * width], w[5 * width], w[6 * width], w[7 * width]);
        Vector256<float> taps = default;
        for (int i = 0; i < channels; i++) taps = taps.WithElement(i, w[i * width]);
        return taps;
    }
}
