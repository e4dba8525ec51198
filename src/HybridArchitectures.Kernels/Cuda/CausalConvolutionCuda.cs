using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// Computes the causal convolution on a GPU for filters of up to 8 taps, with the kernels in <c>CausalConvolution.cu</c>. It saves only the inputs
/// for the gradient.
/// </summary>
static class CausalConvolutionCuda
{
    public const long MaxWidth = 8;

    const string Source = "CausalConvolution.cu";

    // for full rows of one document and a filter of 4 taps: tokens of a thread forward, tokens of a warp backward, and warps of a block backward
    const int PlainTokens = 10, PlainTile = 24, Warps = 8;

    struct Arguments
    {
        public nint X, Initial, Gradient, FinalGradient;
        public CudaTyped Weight, Bias;
        public nint Starts, Lengths, Slots, Output, Final, DX, DInitial, DWeight, DBias;
        public long Batch, Length, Channels, Width, Tile, Tiles, XRow, XToken, GradientRow, GradientToken, Groups, SlotCount;
        public int Silu;
    }

    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, SequenceLayout? layout)
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
                call.RunForward();
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
        var (dWeight, dBias) = (CudaMemory.New(x, ScalarType.Float32, call.Parts, x.size(2), weight.size(1)),
            CudaMemory.New(x, ScalarType.Float32, call.Parts, x.size(2)));
        call.Arguments.DX = CudaMemory.Address(dX);
        call.Arguments.DInitial = weight.size(1) > 1 ? CudaMemory.Address(dInitial) : 0;
        (call.Arguments.DWeight, call.Arguments.DBias) = (CudaMemory.Address(dWeight), CudaMemory.Address(dBias));
        call.RunBackward();
        var sums = PartialSumsCuda.Compute((dWeight, weight), (dBias, bias));
        return [dX, sums[0], sums[1], dInitial];
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
        call.RunStep();
        GC.KeepAlive(slots);
        return output.MoveToOuterDisposeScope();
    }

    // shared by all launches over the same inputs
    sealed unsafe class Call
    {
        readonly Tensor x;
        readonly Tensor?[] kept;
        readonly bool wide, plain;

        public Arguments Arguments;

        public Call(Tensor x, Tensor weight, Tensor? bias, bool silu, Tensor? initialState, Tensor? starts, Tensor? lengths, Tensor? gradient = null,
            Tensor? finalGradient = null)
        {
            if (x.stride(2) != 1 && x.size(2) > 1) x = x.contiguous();
            if (gradient is not null && gradient.stride(2) != 1 && x.size(2) > 1) gradient = gradient.contiguous();
            this.x = x;
            bool narrow = weight.dtype == ScalarType.BFloat16 && bias?.dtype is null or ScalarType.BFloat16;
            var (filter, biases, initial) = (Parameter(weight, narrow)!, Parameter(bias, narrow), initialState?.contiguous());
            kept = [filter, biases, initial, starts, lengths, gradient, finalGradient];
            long batch = x.size(0), length = x.size(1), channels = x.size(2), strides = x.stride(0) | x.stride(1) | channels;
            if (gradient is not null) strides |= gradient.stride(0) | gradient.stride(1);
            int vector = 4 * (int)x.ElementSize;                                                        // four channels a thread
            wide = ((strides * x.ElementSize) | CudaMemory.Address(x) | CudaMemory.Address(initial) | CudaMemory.Address(gradient)
            | CudaMemory.Address(finalGradient)) % vector == 0;
            bool backward = gradient is not null;
            plain = weight.size(1) == 4 && starts is null && lengths is null && (!backward || (initial is null && finalGradient is null));
            long groups = channels / (wide ? 4 : 1);
            // depends only on the sizes and not on the GPU: sums over tiles are bit-equal everywhere
            long tile = (plain, backward) switch { (true, false) => PlainTokens, (true, true) => PlainTile, (_, false) => 128, _ => 256 };
            while (!plain && tile > 32 && batch * ((length + tile - 1) / tile) * groups < 64 * 1024) tile /= 2;
            // tokens of a block, where its sums are added up
            long span = plain && backward ? Warps * tile : tile;
            Arguments = new()
            {
                X = CudaMemory.Address(x), Initial = CudaMemory.Address(initial), Gradient = CudaMemory.Address(gradient),
                    FinalGradient = CudaMemory.Address(finalGradient),
                Weight = CudaTyped.From(filter), Bias = CudaTyped.From(biases), Starts = CudaMemory.Address(starts),
                Lengths = CudaMemory.Address(lengths),
                Batch = batch, Length = length, Channels = channels, Width = weight.size(1), Tile = tile, Tiles = (length + span - 1) / span,
                XRow = x.stride(0), XToken = x.stride(1), GradientRow = gradient?.stride(0) ?? 0, GradientToken = gradient?.stride(1) ?? 0,
                Groups = groups, Silu = silu ? 1 : 0,
            };
        }

        /// <summary>Gets the number of partial sums that backward writes: one per tile of each row, or per block.</summary>
        public long Parts => Arguments.Batch * Arguments.Tiles;

        int Taps => Arguments.Width <= 4 ? 4 : 8;

        public void RunForward()
        {
            if (plain)
            {
                Run("forward_plain", Parts * Arguments.Groups);
                return;
            }
            Run($"forward_{Taps}", Parts * Arguments.Groups);
            if (Arguments.Width > 1) Run("final", Arguments.Batch * Arguments.Groups);
        }

        public void RunBackward()
        {
            if (!plain)
            {
                Run($"backward_{Taps}", Parts * Arguments.Groups);
                return;
            }
            int bytes = (int)x.ElementSize * (wide ? 4 : 1), stages = bytes > 8 ? 2 : 4;
            Launch("backward_plain", Parts * ((Arguments.Groups + 31) / 32), 32 * Warps, (8 * stages + 6) * 32 * Warps * bytes);
        }

        public void RunStep() => Run($"step_{Taps}", Arguments.Batch * Arguments.Groups);

        void Run(string kernel, long threads) => Launch(kernel, (threads + 127) / 128, 128, 0);

        void Launch(string kernel, long blocks, int threads, int sharedBytes)
        {
            CudaRuntime.DeviceOf(x).Launch(
                Source, $"convolution_{kernel}_{CudaMemory.Suffix(x.dtype, wide)}", (blocks, 1, 1), threads, sharedBytes, Arguments);
            GC.KeepAlive((x, kept));
        }

        // as the kernels read it, in pieces of 16 bytes: without a launch if weight and bias both have one of their types
        static Tensor? Parameter(Tensor? tensor, bool narrow)
        {
            if (tensor is null) return null;
            if (!narrow) tensor = tensor.to(ScalarType.Float32);
            tensor = tensor.contiguous();
            return CudaMemory.Address(tensor) % 16 == 0 ? tensor : tensor.clone();
        }
    }
}
