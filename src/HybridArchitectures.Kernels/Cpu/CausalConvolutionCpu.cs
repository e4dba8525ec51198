using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>The causal convolution on CPU cores; <see cref="CausalConvolutionTask{TElement}"/> holds the loops.</summary>
static unsafe class CausalConvolutionCpu
{
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout) =>
        x.dtype == ScalarType.BFloat16 ? Forward<BFloat16Element>(x, weight, bias, silu, initialState, layout)
            : Forward<Float32Element>(x, weight, bias, silu, initialState, layout);

    static (Tensor Output, Tensor FinalState) Forward<TElement>(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout)
        where TElement : struct, IElement
    {
        var (rowLengths, starts) = (layout?.RowLengths, layout?.Starts);
        var results = Autograd.Apply([x, weight, bias, initialState], context =>
        {
            var task = new CausalConvolutionTask<TElement>(x, weight, bias, silu, initialState, rowLengths, starts);
            var (output, final) = (CpuRows.New(x.dtype, x.size(0), x.size(1), x.size(2)), CpuRows.New(x.dtype, x.size(0), weight.size(1) - 1, x.size(2)));
            task.Forward(output, final);
            context.Save(x, weight, bias, initialState, starts);
            return [output, final];
        }, Gradient<TElement>(silu, rowLengths));
        return (results[0], results[1]);
    }

    // of what is saved alone: a caller's tensors may be gone when gradients are asked for
    static Func<BackwardContext, Tensor?[]> Gradient<TElement>(bool silu, IReadOnlyList<long>? rowLengths) where TElement : struct, IElement => context =>
    {
        var (x, weight, bias, initialState, starts) = (context.Saved[0]!, context.Saved[1]!, context.Saved[2], context.Saved[3], context.Saved[4]);
        var task = new CausalConvolutionTask<TElement>(x, weight, bias, silu, initialState, rowLengths, starts);
        var dInput = CpuRows.New(x.dtype, x.size(0), x.size(1), x.size(2));
        var dInitial = initialState is null ? null : CpuRows.New(x.dtype, x.size(0), weight.size(1) - 1, x.size(2));
        var (dWeight, dBias) = task.Backward(context.Gradients[0] ?? zeros([x.size(0), x.size(1), x.size(2)], x.dtype), context.Gradients[1], dInput, dInitial);
        return [dInput, CpuRows.As(dWeight, weight), bias is null ? null : CpuRows.As(dBias, bias), dInitial];
    };

    public static Tensor Step(Tensor state, Tensor x, Tensor weight, Tensor? bias, bool silu)
    {
        using var scope = NewDisposeScope();
        var input = x.unsqueeze(1);
        var output = CpuRows.New(x.dtype, x.size(0), 1, x.size(1));
        if (x.dtype == ScalarType.BFloat16) new CausalConvolutionTask<BFloat16Element>(input, weight, bias, silu, state, null, null).Forward(output, state);
        else new CausalConvolutionTask<Float32Element>(input, weight, bias, silu, state, null, null).Forward(output, state);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }
}
