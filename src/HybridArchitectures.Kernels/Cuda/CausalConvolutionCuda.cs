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

    // for full rows and a filter of 4 taps: tokens of a thread forward, tokens of a warp backward, and warps of a block backward
    const int PlainTokens = 10, PlainTile = 24, Warps = 8;

    sealed record Saved(CausalConvolutionInputs Inputs, RowLayout Layout) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Layout.Map(replace));
    }

    internal struct Arguments
    {
        public nint X, Initial, Gradient, FinalGradient;
        public CudaTyped Weight, Bias;
        public nint Starts, Lengths, Slots, Output, Final, DX, DInitial, DWeight, DBias;
        public long Batch, Length, Channels, Width, Tile, Tiles, XRow, XToken, GradientRow, GradientToken, DXRow, DXToken, Groups, SlotCount;
        public nint Before, Counts;
        public int Silu;
    }

    public static (Tensor Output, Tensor FinalState) Forward(CausalConvolutionInputs inputs)
    {
        var layout = RowLayout.From(inputs.Layout);
        var results = Autograd.Apply<Saved>(inputs.Differentiable, _ =>
        {
            var x = inputs.X;
            var output = CudaMemory.New(x, x.dtype, inputs.Batch, inputs.Length, inputs.Channels);
            var final = CudaMemory.New(x, x.dtype, inputs.Batch, inputs.Width - 1, inputs.Channels);
            var call = new Call(inputs, layout);
            call.Arguments.Output = CudaMemory.Address(output);
            call.Arguments.Final = CudaMemory.Address(final);
            call.RunForward();
            return ([output, final], new Saved(inputs, layout));
        }, Backward);
        return (results[0], results[1]);
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var inputs = saved.Inputs;
        var (x, batch, length, channels, width) = (inputs.X, inputs.Batch, inputs.Length, inputs.Channels, inputs.Width);
        var gradient = context.Gradients[0] ?? zeros([batch, length, channels], x.dtype, x.device);
        var finalGradient = context.Gradients[1]?.contiguous();
        var call = new Call(inputs, saved.Layout, gradient, finalGradient);
        var dX = CudaMemory.PlaceOf(x, inputs.XGradient) ?? CudaMemory.New(x, x.dtype, batch, length, channels);
        var dInitial = inputs.InitialState is null ? null : CudaMemory.New(x, x.dtype, batch, width - 1, channels);
        var (dWeight, dBias) = (CudaMemory.New(x, ScalarType.Float32, call.Parts, channels, width),
            CudaMemory.New(x, ScalarType.Float32, call.Parts, channels));
        call.Arguments.DX = CudaMemory.Address(dX);
        (call.Arguments.DXRow, call.Arguments.DXToken) = (dX.stride(0), dX.stride(1));
        call.Arguments.DInitial = width > 1 ? CudaMemory.Address(dInitial) : 0;
        (call.Arguments.DWeight, call.Arguments.DBias) = (CudaMemory.Address(dWeight), CudaMemory.Address(dBias));
        call.RunBackward();
        var sums = PartialSumsCuda.Compute((dWeight, inputs.Weight), (dBias, inputs.Bias));
        return [dX, sums[0], sums[1], dInitial];
    }

    public static Tensor Step(Tensor state, CausalConvolutionInputs inputs, Tensor? slots)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.New(inputs.X, inputs.X.dtype, inputs.Batch, inputs.Channels);
        var call = new Call(inputs with { X = inputs.X.unsqueeze(1), InitialState = state }, RowLayout.From(null));
        call.Arguments.Output = CudaMemory.Address(output);
        call.Arguments.Final = CudaMemory.Address(state);
        slots = slots?.contiguous();
        (call.Arguments.Slots, call.Arguments.SlotCount) = (CudaMemory.Address(slots), state.size(0));
        call.RunStep();
        GC.KeepAlive((slots, state));
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Computes the tokens of a pass (B, L, C), one after another, updates the state, and writes the state before to <paramref name="before"/>.
    /// </summary>
    public static Tensor Steps(Tensor state, Tensor before, CausalConvolutionInputs inputs)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.New(inputs.X, inputs.X.dtype, inputs.Batch, inputs.Length, inputs.Channels);
        var call = new Call(inputs with { InitialState = state }, RowLayout.From(null), other: before);
        (call.Arguments.Output, call.Arguments.Before) = (CudaMemory.Address(output), CudaMemory.Address(before));
        (call.Arguments.Final, call.Arguments.SlotCount) = (CudaMemory.Address(state), state.size(0));
        call.RunStep();
        GC.KeepAlive(state);
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>Sets the state of each row to that after the first tokens of a pass; <paramref name="counts"/> is (B) int64.</summary>
    public static void Replay(Tensor state, Tensor before, Tensor counts, CausalConvolutionInputs inputs)
    {
        var call = new Call(inputs with { InitialState = before }, RowLayout.From(null), other: state);
        (call.Arguments.Before, call.Arguments.Counts) = (CudaMemory.Address(before), CudaMemory.Address(counts));
        (call.Arguments.Final, call.Arguments.SlotCount) = (CudaMemory.Address(state), state.size(0));
        call.RunStep();
        GC.KeepAlive((state, counts));
    }

    // shared by all launches over the same inputs
    sealed unsafe class Call
    {
        readonly Tensor x;
        readonly Tensor?[] roots;           // keeps the memory of the arguments alive
        readonly bool wide, plain;

        public Arguments Arguments;

        // other: the second state of steps of several tokens
        public Call(
            CausalConvolutionInputs inputs, RowLayout layout, Tensor? gradient = null, Tensor? finalGradient = null, Tensor? other = null)
        {
            x = inputs.X;
            var (weight, bias, starts, lengths) = (inputs.Weight, inputs.Bias, layout.Starts, layout.Lengths);
            if (x.stride(2) != 1 && x.size(2) > 1) x = x.contiguous();
            if (gradient is not null && gradient.stride(2) != 1 && x.size(2) > 1) gradient = gradient.contiguous();
            bool narrow = weight.dtype == ScalarType.BFloat16 && bias?.dtype is null or ScalarType.BFloat16;
            var (filter, biases, initial) = (Parameter(weight, narrow)!, Parameter(bias, narrow), inputs.InitialState?.contiguous());
            roots = [filter, biases, initial, starts, lengths, gradient, finalGradient, other];
            long batch = x.size(0), length = x.size(1), channels = x.size(2), strides = x.stride(0) | x.stride(1) | channels;
            if (gradient is not null) strides |= gradient.stride(0) | gradient.stride(1);
            int vector = 4 * (int)x.ElementSize;                                                        // four channels a thread
            wide = ((strides * x.ElementSize) | CudaMemory.Address(x) | CudaMemory.Address(initial) | CudaMemory.Address(gradient)
            | CudaMemory.Address(finalGradient) | CudaMemory.Address(other)) % vector == 0;
            bool backward = gradient is not null;
            // rows of several documents with single channels, which no model has, are left to the general kernels
            plain = weight.size(1) == 4 && (starts is null || wide) && lengths is null
                && (!backward || (initial is null && finalGradient is null));
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
                Groups = groups, Silu = inputs.Silu ? 1 : 0,
            };
        }

        /// <summary>Gets the number of partial sums that backward writes: one per tile of each row, or per block.</summary>
        public long Parts => Arguments.Batch * Arguments.Tiles;

        int Taps => Arguments.Width <= 4 ? 4 : 8;

        string Plain => Arguments.Starts == 0 ? "plain" : "documents";

        public void RunForward()
        {
            if (plain)
            {
                Run($"forward_{Plain}", Parts * Arguments.Groups);
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
            Launch($"backward_{Plain}", Parts * ((Arguments.Groups + 31) / 32), 32 * Warps, (8 * stages + 6) * 32 * Warps * bytes);
        }

        public void RunStep() => Run($"step_{Taps}", Arguments.Batch * Arguments.Groups);

        void Run(string kernel, long threads) => Launch(kernel, (threads + 127) / 128, 128, 0);

        void Launch(string kernel, long blocks, int threads, int sharedBytes)
        {
            CudaRuntime.DeviceOf(x).Launch(
                Source, $"convolution_{kernel}_{CudaMemory.Suffix(x.dtype, wide)}", (blocks, 1, 1), threads, sharedBytes, Arguments);
            GC.KeepAlive((x, roots));
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
