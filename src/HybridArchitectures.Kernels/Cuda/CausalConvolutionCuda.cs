using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>The causal convolution on a card, for filters of up to 8 taps; <c>CausalConvolution.cu</c> holds the kernels. Only the inputs are kept for the gradient.</summary>
static class CausalConvolutionCuda
{
    public const long MaximalWidth = 8;

    const string Source = "CausalConvolution.cu";

    struct Arguments
    {
        public nint X, Initial, Gradient, FinalGradient, Weight, Bias, Starts, Lengths, Slots, Output, Final, DX, DInitial, DFilter;
        public long Batch, Length, Channels, Width, Tile, Tiles, XRow, XToken, GradientRow, GradientToken, Groups, SlotCount;
        public int Silu;
    }

    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout)
    {
        var (starts, lengths) = (layout?.Starts, layout?.Lengths);
        var results = Autograd.Apply([x, weight, bias, initialState],
            context =>
            {
                var output = CudaMemory.New(x, x.dtype, x.size(0), x.size(1), x.size(2));
                var final = CudaMemory.New(x, x.dtype, x.size(0), weight.size(1) - 1, x.size(2));
                var call = new Call(x, weight, bias, silu, initialState, starts, lengths);
                call.Arguments.Output = CudaMemory.Address(output);
                call.Arguments.Final = CudaMemory.Address(final);
                call.Run($"forward_{call.Taps}", call.Items);
                if (weight.size(1) > 1) call.Run("final", x.size(0));
                context.Save(x, weight, bias, initialState, starts, lengths);
                return [output, final];
            },
            context => Backward(context, silu));
        return (results[0], results[1]);
    }

    static Tensor?[] Backward(BackwardContext context, bool silu)
    {
        var (x, weight, bias, initialState) = (context.Saved[0]!, context.Saved[1]!, context.Saved[2], context.Saved[3]);
        var gradient = context.Gradients[0] ?? zeros([x.size(0), x.size(1), x.size(2)], x.dtype, x.device);
        var finalGradient = context.Gradients[1]?.contiguous();
        var call = new Call(x, weight, bias, silu, initialState, context.Saved[4], context.Saved[5], gradient, finalGradient);
        var dX = CudaMemory.New(x, x.dtype, x.size(0), x.size(1), x.size(2));
        var dInitial = initialState is null ? null : CudaMemory.New(x, x.dtype, x.size(0), weight.size(1) - 1, x.size(2));
        var dFilter = CudaMemory.New(x, ScalarType.Float32, call.Items, x.size(2), weight.size(1) + 1);
        call.Arguments.DX = CudaMemory.Address(dX);
        call.Arguments.DInitial = weight.size(1) > 1 ? CudaMemory.Address(dInitial) : 0;
        call.Arguments.DFilter = CudaMemory.Address(dFilter);
        bool plain = weight.size(1) == 4 && initialState is null && finalGradient is null && context.Saved[4] is null && context.Saved[5] is null;
        call.Run(plain ? "backward_plain" : $"backward_{call.Taps}", call.Items);
        var sums = dFilter.sum(dim: 0);                                                            // (C, W + 1)
        return [dX, sums.narrow(1, 0, weight.size(1)).to(weight.dtype).contiguous(), bias is null ? null : sums.select(1, weight.size(1)).to(bias.dtype).contiguous(), dInitial];
    }

    public static Tensor Step(Tensor state, Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? slots)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.New(x, x.dtype, x.size(0), x.size(1));
        var call = new Call(x.unsqueeze(1), weight, bias, silu, state, null, null);
        call.Arguments.Output = CudaMemory.Address(output);
        call.Arguments.Final = CudaMemory.Address(state);
        slots = slots?.contiguous();
        (call.Arguments.Slots, call.Arguments.SlotCount) = (CudaMemory.Address(slots), state.size(0));
        call.Run($"step_{call.Taps}", x.size(0));
        GC.KeepAlive(slots);
        return output.MoveToOuterDisposeScope();
    }

    // what all launches over the same inputs share
    sealed unsafe class Call
    {
        readonly Tensor x;
        readonly Tensor?[] kept;
        readonly bool wide;

        public Arguments Arguments;

        public Call(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, Tensor? starts, Tensor? lengths, Tensor? gradient = null, Tensor? finalGradient = null)
        {
            if (x.stride(2) != 1 && x.size(2) > 1) x = x.contiguous();
            if (gradient is not null && gradient.stride(2) != 1 && x.size(2) > 1) gradient = gradient.contiguous();
            this.x = x;
            var (filter, biases, initial) = (CudaMemory.Float32(weight)!, CudaMemory.Float32(bias), initialState?.contiguous());
            kept = [filter, biases, initial, starts, lengths, gradient, finalGradient];
            long channels = x.size(2), strides = x.stride(0) | x.stride(1) | channels;
            if (gradient is not null) strides |= gradient.stride(0) | gradient.stride(1);
            int vector = 4 * (int)x.ElementSize;                                                        // four channels a thread
            wide = ((strides * x.ElementSize) | CudaMemory.Address(x) | CudaMemory.Address(initial) | CudaMemory.Address(gradient) | CudaMemory.Address(finalGradient)) % vector == 0;
            long groups = channels / (wide ? 4 : 1), tile = gradient is null ? 128 : 256;
            // by the sizes alone, not by the card: sums over tiles are the same to the bit everywhere
            while (tile > 32 && x.size(0) * ((x.size(1) + tile - 1) / tile) * groups < 64 * 1024) tile /= 2;
            Arguments = new()
            {
                X = CudaMemory.Address(x), Initial = CudaMemory.Address(initial), Gradient = CudaMemory.Address(gradient), FinalGradient = CudaMemory.Address(finalGradient),
                Weight = CudaMemory.Address(filter), Bias = CudaMemory.Address(biases), Starts = CudaMemory.Address(starts), Lengths = CudaMemory.Address(lengths),
                Batch = x.size(0), Length = x.size(1), Channels = channels, Width = weight.size(1), Tile = tile, Tiles = (x.size(1) + tile - 1) / tile,
                XRow = x.stride(0), XToken = x.stride(1), GradientRow = gradient?.stride(0) ?? 0, GradientToken = gradient?.stride(1) ?? 0, Groups = groups, Silu = silu ? 1 : 0,
            };
        }

        public int Taps => Arguments.Width <= 4 ? 4 : 8;

        /// <summary>Tiles of all rows.</summary>
        public long Items => Arguments.Batch * Arguments.Tiles;

        public void Run(string kernel, long items)
        {
            CudaRuntime.DeviceOf(x).Launch(Source, $"convolution_{kernel}_{CudaMemory.Suffix(x.dtype, wide)}", ((items * Arguments.Groups + 127) / 128, 1, 1), 128, 0, Arguments);
            GC.KeepAlive((x, kept));
        }
    }
}
