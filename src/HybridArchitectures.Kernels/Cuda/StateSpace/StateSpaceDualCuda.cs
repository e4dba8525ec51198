using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>
/// Computes the state-space dual on a GPU with the kernels in <c>StateSpaceDual.cu</c>. It saves for the gradient the inputs, the steps and their
/// sums, the incoming states of segments, and with <see cref="OperatorOptions.SaveChunkStates"/> those before every chunk.
/// </summary>
static class StateSpaceDualCuda
{
    // bytes of states that a backward pass stores at a time in both directions; more rows are processed in turn
    const long StatesAtATime = 4L << 30;

    sealed record Saved(StateSpaceDualInputs Inputs, RowLayout Layout, StateSpaceDualSums Sums, Tensor? ChunkStates) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) =>
            new(Inputs.Map(replace), Layout.Map(replace), Sums.Map(replace), replace(ChunkStates));
    }

    /// <summary>Computes the operator for float32 or bfloat16 x.</summary>
    public static (Tensor Output, Tensor FinalState) Forward(StateSpaceDualInputs inputs)
    {
        var x = inputs.X;
        if (inputs.B.dtype != x.dtype || inputs.C.dtype != x.dtype)
        {
            // products have one type: the wider one
            using var scope = NewDisposeScope();
            var (wide, state) = Forward(inputs with
            {
                X = x.to(ScalarType.Float32), B = inputs.B.to(ScalarType.Float32), C = inputs.C.to(ScalarType.Float32),
            });
            return (wide.to(x.dtype).MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
        }
        long maxStates = StateSpaceDualShape.MaxStates(x.dtype == ScalarType.Float32, CudaRuntime.DeviceOf(x).SharedMemory);
        if (inputs.StateSize > maxStates) return InPasses(maxStates, inputs);
        var layout = RowLayout.From(inputs.Layout);
        var results = Autograd.Apply<Saved>(inputs.Differentiable, context =>
        {
            var call = new StateSpaceDualCall(inputs, layout, null);
            var output = CudaMemory.New(x, x.dtype, inputs.Batch, inputs.Length, inputs.Heads, inputs.HeadSize);
            var final = CudaMemory.New(x, ScalarType.Float32, inputs.Batch, inputs.Heads, inputs.HeadSize, inputs.StateSize);
            call.ComputeSums();
            var states = context.NeedsGradient && OperatorOptions.Current.SaveChunkStates
                && 2 * call.StatesSize * inputs.Batch <= StatesAtATime ? call.NewStates(inputs.Batch) : null;
            for (long first = 0; first < inputs.Batch; first += StateSpaceDualCall.MaxGrid)
            {
                long count = Math.Min(inputs.Batch - first, StateSpaceDualCall.MaxGrid);
                call.Scan(false, (call.X, call.B, call.C), call.Initial, final, output, states?.narrow(0, first, count), first, count);
            }
            return ([output, final], new Saved(inputs, layout, call.Sums, states));
        }, Backward);
        return (results[0], results[1]);
    }

    // states are independent of each other: the output is a sum over slices of them
    static (Tensor Output, Tensor FinalState) InPasses(long maxStates, StateSpaceDualInputs inputs)
    {
        using var scope = NewDisposeScope();
        Tensor? output = null;
        var finals = new List<Tensor>();
        for (long first = 0; first < inputs.StateSize; first += maxStates)
        {
            long count = Math.Min(maxStates, inputs.StateSize - first);
            var (part, final) = Forward(inputs with
            {
                B = inputs.B.narrow(3, first, count), C = inputs.C.narrow(3, first, count), D = first == 0 ? inputs.D : null,
                InitialState = inputs.InitialState?.narrow(3, first, count),
            });
            output = output is null ? part.to(ScalarType.Float32) : output.add(part, Scalars.One);
            finals.Add(final);
        }
        return (output!.to(inputs.X.dtype).MoveToOuterDisposeScope(), cat(finals, 3).MoveToOuterDisposeScope());
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var inputs = saved.Inputs;
        var x = inputs.X;
        var call = new StateSpaceDualCall(inputs, saved.Layout, saved.Sums);
        var gradient = call.Inner(context.Gradients[0]
            ?? zeros([inputs.Batch, inputs.Length, inputs.Heads, inputs.HeadSize], x.dtype, x.device));
        var finalGradient = context.Gradients[1]?.contiguous();
        long rows = Math.Clamp(StatesAtATime / (2 * call.StatesSize), 1, Math.Min(inputs.Batch, StateSpaceDualCall.MaxGrid));
        var results = new StateSpaceDualResults(call, inputs, call.Splits(rows));
        var (entering, leaving) = (saved.ChunkStates ?? call.NewStates(rows), call.NewStates(rows));
        for (long first = 0; first < inputs.Batch; first += rows)
        {
            long count = Math.Min(rows, inputs.Batch - first);
            var before = saved.ChunkStates is null ? entering : entering.narrow(0, first, count);
            if (saved.ChunkStates is null)
                call.Scan(false, (call.X, call.B, call.C), call.Initial, null, null, entering, first, count);
            call.Scan(true, (gradient, call.C, call.B), finalGradient, results.Gradients.InitialState, results.Gradients.X, leaving, first, count);
            results.Compute(call, gradient, before, leaving, first, count);
        }
        GC.KeepAlive((saved, gradient, call, finalGradient, entering, leaving, results));
        return results.Sum(inputs).Differentiable;
    }
}
