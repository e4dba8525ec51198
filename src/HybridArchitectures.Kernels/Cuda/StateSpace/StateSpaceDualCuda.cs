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

    /// <summary>Computes the operator. The arguments are those of <see cref="Operators.StateSpaceDual.Forward"/>; x is float32 or bfloat16.</summary>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? timeStepBias, bool softplus,
        (double Minimum, double Maximum)? limit, Tensor? initialState, SequenceLayout? layout)
    {
        if (b.dtype != x.dtype || c.dtype != x.dtype)
        {
            // products have one type: the wider one
            using var scope = NewDisposeScope();
            var (wide, state) = Forward(x.to(ScalarType.Float32), timeStep, a, b.to(ScalarType.Float32), c.to(ScalarType.Float32), skip, timeStepBias,
                softplus, limit, initialState, layout);
            return (wide.to(x.dtype).MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
        }
        long most = StateSpaceDualShape.MaxStates(x.dtype == ScalarType.Float32, CudaRuntime.DeviceOf(x).SharedMemory);
        if (b.size(3) > most) return InPasses(most, x, timeStep, a, b, c, skip, timeStepBias, softplus, limit, initialState, layout);
        Tensor?[] inputs = [x, timeStep, a, b, c, skip, timeStepBias, initialState];
        var (starts, lengths) = (layout?.Starts, layout?.Lengths);
        var results = Autograd.Apply(inputs,
            context =>
            {
                var call = new StateSpaceDualCall(inputs, softplus, limit, starts, lengths);
                var output = CudaMemory.New(x, x.dtype, x.size(0), x.size(1), x.size(2), x.size(3));
                var final = CudaMemory.New(x, ScalarType.Float32, x.size(0), x.size(2), x.size(3), b.size(3));
                call.Steps();
                var states = context.NeedsGradient && OperatorOptions.Current.SaveChunkStates && 2 * call.StatesSize * x.size(0) <= StatesAtATime
                    ? call.NewStates(x.size(0)) : null;
                for (long first = 0; first < x.size(0); first += StateSpaceDualCall.MaxGrid)
                {
                    long count = Math.Min(x.size(0) - first, StateSpaceDualCall.MaxGrid);
                    call.Walk(false, call.X, call.B, call.C, call.Initial, final, output, states?.narrow(0, first, count), first, count);
                }
                context.Save([.. inputs, starts, lengths, .. call.Kept, states]);
                return [output, final];
            },
            context => Backward(context, softplus, limit));
        return (results[0], results[1]);
    }

    // states are independent of each other: the output is a sum over slices of them
    static (Tensor Output, Tensor FinalState) InPasses(
        long most, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? timeStepBias, bool softplus,
        (double Minimum, double Maximum)? limit, Tensor? initialState, SequenceLayout? layout)
    {
        using var scope = NewDisposeScope();
        Tensor? output = null;
        var finals = new List<Tensor>();
        for (long first = 0; first < b.size(3); first += most)
        {
            long count = Math.Min(most, b.size(3) - first);
            var (part, final) = Forward(x, timeStep, a, b.narrow(3, first, count), c.narrow(3, first, count), first == 0 ? skip : null, timeStepBias,
                softplus, limit,
                initialState?.narrow(3, first, count), layout);
            output = output is null ? part.to(ScalarType.Float32) : output.add(part, Scalars.One);
            finals.Add(final);
        }
        return (output!.to(x.dtype).MoveToOuterDisposeScope(), cat(finals, 3).MoveToOuterDisposeScope());
    }

    static Tensor?[] Backward(BackwardContext context, bool softplus, (double Minimum, double Maximum)? limit)
    {
        var inputs = context.Saved;
        var (x, timeStep, a, b, c) = (inputs[0]!, inputs[1]!, inputs[2]!, inputs[3]!, inputs[4]!);
        long batch = x.size(0), length = x.size(1), heads = x.size(2), headSize = x.size(3), groups = b.size(2), states = b.size(3);
        var call = new StateSpaceDualCall(inputs, softplus, limit, inputs[8], inputs[9]);
        call.Continue(inputs[10], inputs[11], inputs[12], inputs[13], inputs[14]);
        var gradient = call.Inner(context.Gradients[0] ?? zeros([batch, length, heads, headSize], x.dtype, x.device));
        var finalGradient = context.Gradients[1]?.contiguous();
        Tensor New(ScalarType type, params long[] sizes) => CudaMemory.New(x, type, sizes);
        Tensor NewFloat32(params long[] sizes) => CudaMemory.New(x, ScalarType.Float32, sizes);
        long rows = Math.Clamp(StatesAtATime / (2 * call.StatesSize), 1, Math.Min(batch, StateSpaceDualCall.MaxGrid));
        long splits = call.Splits(rows);
        var productType = splits > 1 ? ScalarType.Float32 : x.dtype;
        var (dX, dB, dC, dStep) = (New(x.dtype, batch, length, heads, headSize), New(productType, splits, batch, length, groups, states),
            New(productType, splits, batch, length, groups, states), New(timeStep.dtype, batch, length, heads));
        var kept = inputs[15];
        var (entering, leaving) = (kept ?? call.NewStates(rows), call.NewStates(rows));
        Tensor Trace(bool exact) => New(exact ? ScalarType.Float64 : ScalarType.Float32, batch, heads, call.Chunks, call.Shape.Chunk);
        Tensor[] traces = [Trace(call.Shape.SplitFloat32), Trace(false), Trace(false)];
        Tensor Sums() => NewFloat32(batch * call.Chunks, heads);
        var (inner, dSkip, dA, dBias) = (Sums(), Sums(), Sums(), Sums());
        var dInitial = inputs[7] is null ? null : NewFloat32(batch, heads, headSize, states);
        for (long first = 0; first < batch; first += rows)
        {
            long count = Math.Min(rows, batch - first);
            var before = kept is null ? entering : kept.narrow(0, first, count);
            if (kept is null) call.Walk(false, call.X, call.B, call.C, call.Initial, null, null, entering, first, count);
            call.Walk(true, gradient, call.C, call.B, finalGradient, dInitial, dX, leaving, first, count);
            var to = call.For(call.X, call.B, call.C);
            (to.Gradient, to.GradientRow, to.GradientToken) = (CudaMemory.Address(gradient), gradient.stride(0), gradient.stride(1));
            (to.States, to.BackStates, to.DKey, to.DQuery) =
                (CudaMemory.Address(before), CudaMemory.Address(leaving), CudaMemory.Address(dB), CudaMemory.Address(dC));
            (to.GradientMap, to.StatesMap, to.BackStatesMap) = (call.Map(gradient), call.MapStates(before), call.MapStates(leaving));
            (to.Suffix, to.Prefix, to.Direct) = (CudaMemory.Address(traces[0]), CudaMemory.Address(traces[1]), CudaMemory.Address(traces[2]));
            (to.Inner, to.Diagonal, to.DA, to.DBias) =
                (CudaMemory.Address(inner), CudaMemory.Address(dSkip), CudaMemory.Address(dA), CudaMemory.Address(dBias));
            (to.DTimeStep, to.FirstRow, to.Splits) = (CudaTyped.From(dStep), first, splits);
            to.Wide = to.Wide != 0 && call.For(gradient, call.C, call.B).Wide != 0 ? 1 : 0;
            call.Launch("pairs", (count * call.Chunks * groups * splits, 1, 1), call.Shape.PairThreads, call.Shape.PairShared, to);
            call.Launch("step_gradients", (call.Chunks * ((heads + 31) / 32), count, 1), 256, call.Shape.StepBackShared, to);
        }
        GC.KeepAlive((inputs, gradient, call, finalGradient, entering, leaving, traces, inner));
        var sums = PartialSumsCuda.Compute((dA, a), (dB, b), (dC, c), (dSkip, inputs[5]), (dBias, inputs[6]));
        return [dX, dStep, sums[0], sums[1], sums[2], sums[3], sums[4], dInitial];
    }
}
