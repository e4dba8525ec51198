using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>The causal convolution on CPU cores; <see cref="CausalConvolutionTask{TElement}"/> holds the loops.</summary>
static unsafe class CausalConvolutionCpu
{
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout) =>
        x.dtype == ScalarType.BFloat16 ? Forward<BFloat16Element>(x, weight, bias, silu, initialState, layout) : Forward<Float32Element>(x, weight, bias, silu, initialState, layout);

    static (Tensor Output, Tensor FinalState) Forward<TElement>(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout)
        where TElement : struct, IElement
    {
        var rowLengths = layout?.RowLengths;
        var type = x.dtype;       // the caller's tensor may be gone when gradients are asked for
        long batch = x.size(0), length = x.size(1), channels = x.size(2), width = weight.size(1);
        var results = Autograd.Apply([x, weight, bias, initialState], context =>
        {
            var task = new CausalConvolutionTask<TElement>(x, weight, bias, silu, initialState, rowLengths, layout?.Starts);
            var (output, final) = (empty([batch, length, channels], type), empty([batch, width - 1, channels], type));
            task.Forward(output, final);
            context.Save(x, weight, bias, initialState, layout?.Starts);
            return [output, final];
        }, context =>
        {
            var saved = context.Saved;
            var task = new CausalConvolutionTask<TElement>(saved[0]!, saved[1]!, saved[2], silu, saved[3], rowLengths, saved[4]);
            var dInput = empty([batch, length, channels], type);
            var dInitial = saved[3] is null ? null : empty([batch, width - 1, channels], type);
            var dOutput = context.Gradients[0] ?? zeros([batch, length, channels], type);
            var (dWeight, dBias) = task.Backward(dOutput, context.Gradients[1], dInput, dInitial);
            return [dInput, CpuRows.As(dWeight, saved[1]!), saved[2] is null ? null : CpuRows.As(dBias, saved[2]!), dInitial];
        });
        return (results[0], results[1]);
    }

    public static Tensor Step(Tensor state, Tensor x, Tensor weight, Tensor? bias, bool silu)
    {
        using var scope = NewDisposeScope();
        var input = x.unsqueeze(1);
        var output = empty([x.size(0), 1, x.size(1)], x.dtype);
        if (x.dtype == ScalarType.BFloat16) new CausalConvolutionTask<BFloat16Element>(input, weight, bias, silu, state, null, null).Forward(output, state);
        else new CausalConvolutionTask<Float32Element>(input, weight, bias, silu, state, null, null).Forward(output, state);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }
}
