using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Implements the causal convolution on the CPU. <see cref="CausalConvolutionTask{TElement}"/> contains the loops.</summary>
static unsafe class CausalConvolutionCpu
{
    sealed record Saved(CausalConvolutionInputs Inputs, RowLayout Layout) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Layout.Map(replace));
    }

    public static (Tensor Output, Tensor FinalState) Forward(CausalConvolutionInputs inputs) =>
        inputs.X.dtype == ScalarType.BFloat16 ? Forward<BFloat16Element>(inputs) : Forward<Float32Element>(inputs);

    static (Tensor Output, Tensor FinalState) Forward<TElement>(CausalConvolutionInputs inputs) where TElement : struct, IElement
    {
        var layout = RowLayout.From(inputs.Layout);
        var results = Autograd.Apply<Saved>(inputs.Differentiable, _ =>
        {
            var task = new CausalConvolutionTask<TElement>(inputs, layout);
            var (output, final) = (CpuRows.New(inputs.X.dtype, inputs.Batch, inputs.Length, inputs.Channels),
                CpuRows.New(inputs.X.dtype, inputs.Batch, inputs.Width - 1, inputs.Channels));
            task.Forward(output, final);
            return ([output, final], new Saved(inputs, layout));
        }, Backward<TElement>);
        return (results[0], results[1]);
    }

    static Tensor?[] Backward<TElement>(BackwardContext context, Saved saved) where TElement : struct, IElement
    {
        var inputs = saved.Inputs;
        var (type, batch, length, channels) = (inputs.X.dtype, inputs.Batch, inputs.Length, inputs.Channels);
        var task = new CausalConvolutionTask<TElement>(inputs, saved.Layout);
        var dX = CpuRows.New(type, batch, length, channels);
        var dInitial = inputs.InitialState is null ? null : CpuRows.New(type, batch, inputs.Width - 1, channels);
        var (dWeight, dBias) = task.Backward(
            context.Gradients[0] ?? zeros([batch, length, channels], type), context.Gradients[1], dX, dInitial);
        return [dX, CpuRows.As(dWeight, inputs.Weight), inputs.Bias is { } bias ? CpuRows.As(dBias, bias) : null, dInitial];
    }

    /// <summary>Computes one token for every row and shifts its state in the same pass.</summary>
    public static Tensor Step(Tensor state, CausalConvolutionInputs inputs) =>
        inputs.X.dtype == ScalarType.BFloat16 ? Step<BFloat16Element>(state, inputs) : Step<Float32Element>(state, inputs);

    static Tensor Step<TElement>(Tensor state, CausalConvolutionInputs inputs) where TElement : struct, IElement
    {
        var (x, weight, bias, silu) = (inputs.X, inputs.Weight, inputs.Bias, inputs.Silu);
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
                byte* before = past + row * (width - 1) * bytes;
                Token<TElement>(input[row], before, bytes, w, shift, y + row * bytes, channels, width, silu);
            }
        });
        GC.KeepAlive((state, input.Tensor, weights, biases));
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Computes the convolution of one token of each sequence over channels of a product in place, and shifts the state of these channels.
    /// </summary>
    /// <param name="step">The convolution.</param>
    /// <param name="outputs">The outputs of the product, float32.</param>
    /// <param name="stride">The outputs per sequence.</param>
    /// <param name="from">The first output.</param>
    /// <param name="to">The output after the last one.</param>
    public static void Step(FewRowsConvolutionStep step, float* outputs, long stride, long from, long to)
    {
        if (from >= to) return;
        long channels = step.Weight.size(0), width = step.Weight.size(1), first = from - step.First;
        float* past = CpuRows.Pointer(step.State), weight = CpuRows.Pointer(step.Weight) + first * width, bias = CpuRows.Pointer(step.Bias);
        for (long row = 0; row < step.State.size(0); row++)
        {
            byte* token = (byte*)(outputs + row * stride + from);
            Token<Float32Element>(token, (byte*)(past + row * (width - 1) * channels + first), channels * sizeof(float), weight,
                bias == null ? null : bias + first, token, to - from, width, step.IsSilu);
        }
    }

    // one token of a sequence: weights of channel after channel, the state with a distance between taps in bytes
    static void Token<TElement>(byte* token, byte* before, long tapBytes, float* weight, float* bias, byte* output, long channels, long width,
        bool silu) where TElement : struct, IElement
    {
        for (long c = 0; c < channels; c += RowMath.Lanes)
        {
            var sum = bias == null ? default : RowMath.Load<Float32Element>((byte*)bias, c, channels);
            for (long tap = 0; tap < width; tap++)
            {
                var value = RowMath.Load<TElement>(tap < width - 1 ? before + tap * tapBytes : token, c, channels);
                sum = Vector256.MultiplyAddEstimate(Taps(weight + c * width + tap, width, channels - c), value, sum);
                if (tap > 0) RowMath.Store<TElement>(before + (tap - 1) * tapBytes, c, channels, value);
            }
            if (silu) sum *= VectorMath.Sigmoid(sum);
            RowMath.Store<TElement>(output, c, channels, sum);
        }
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
