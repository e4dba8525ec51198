using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>
/// Contains the gradients that the kernels of the state-space dual write, and computes those that the scans leave open. Gradients to which several
/// blocks add have one part per block.
/// </summary>
sealed class StateSpaceDualResults
{
    readonly long splits;
    readonly Tensor suffixTrace, prefixTrace, directTrace, innerTrace;

    public StateSpaceDualResults(StateSpaceDualCall call, StateSpaceDualInputs inputs, long splits)
    {
        this.splits = splits;
        var (x, batch, length, heads, places) = (inputs.X, inputs.Batch, inputs.Length, inputs.Heads, inputs.Places);
        Tensor New(ScalarType type, params long[] sizes) => CudaMemory.New(x, type, sizes);
        Tensor NewProducts() =>
            New(splits > 1 ? ScalarType.Float32 : x.dtype, splits, batch, length, inputs.Groups, inputs.StateSize);
        Tensor NewTrace(ScalarType type) => New(type, batch, heads, call.Chunks, call.Shape.Chunk);
        Tensor NewSums() => New(ScalarType.Float32, batch * call.Chunks, heads);
        Tensor? PlaceOf(Tensor input, GradientSlice? slice) => splits > 1 ? null : CudaMemory.PlaceOf(input, slice)?.unsqueeze(0);
        var (dB, dC) = (PlaceOf(inputs.B, places.B), PlaceOf(inputs.C, places.C));
        if (dB is null || dC is null) (dB, dC) = (NewProducts(), NewProducts());         // both have the same strides
        Gradients = new(CudaMemory.PlaceOf(x, places.X) ?? New(x.dtype, batch, length, heads, inputs.HeadSize),
            CudaMemory.PlaceOf(inputs.Dt, places.Dt) ?? New(inputs.Dt.dtype, batch, length, heads), NewSums(), dB, dC)
        {
            D = NewSums(), DtBias = NewSums(),
            InitialState = inputs.InitialState is null ? null : New(ScalarType.Float32, batch, heads, inputs.HeadSize, inputs.StateSize),
        };
        suffixTrace = NewTrace(call.Shape.SplitFloat32 ? ScalarType.Float64 : ScalarType.Float32);
        (prefixTrace, directTrace, innerTrace) = (NewTrace(ScalarType.Float32), NewTrace(ScalarType.Float32), NewSums());
    }

    /// <summary>Gets the gradient of every input, before parts are summed.</summary>
    public StateSpaceDualInputs Gradients { get; }

    /// <summary>Computes the gradients of B, C, D, A and the time steps of some rows from the states before and after all chunks.</summary>
    public void Compute(StateSpaceDualCall call, Tensor gradient, Tensor states, Tensor stateGradients, long firstRow, long rows)
    {
        var to = call.For(call.X, call.B, call.C);
        (to.Gradient, to.GradientRow, to.GradientToken) = (CudaMemory.Address(gradient), gradient.stride(0), gradient.stride(1));
        (to.States, to.StateGradients) = (CudaMemory.Address(states), CudaMemory.Address(stateGradients));
        (to.GradientMap, to.StatesMap, to.StateGradientsMap) = (call.Map(gradient), call.MapStates(states), call.MapStates(stateGradients));
        (to.SuffixTrace, to.PrefixTrace) = (CudaMemory.Address(suffixTrace), CudaMemory.Address(prefixTrace));
        (to.DirectTrace, to.InnerTrace) = (CudaMemory.Address(directTrace), CudaMemory.Address(innerTrace));
        (to.DA, to.DB, to.DC) = (CudaMemory.Address(Gradients.A), CudaMemory.Address(Gradients.B), CudaMemory.Address(Gradients.C));
        (to.DD, to.DDtBias) = (CudaMemory.Address(Gradients.D), CudaMemory.Address(Gradients.DtBias));
        (to.DDt, to.FirstRow, to.Splits) = (CudaTyped.From(Gradients.Dt), firstRow, splits);
        (to.DDtRow, to.DDtToken) = (Gradients.Dt.stride(0), Gradients.Dt.stride(1));
        (to.ProductRow, to.ProductToken) = (Gradients.B.stride(1), Gradients.B.stride(2));
        to.Wide = to.Wide != 0 && call.For(gradient, call.C, call.B).Wide != 0 ? 1 : 0;
        var (chunks, heads, groups, shape) = (call.Chunks, call.X.size(2), call.B.size(2), call.Shape);
        call.Launch("pairs", (rows * chunks * groups * splits, 1, 1), shape.PairThreads, shape.PairShared, to);
        call.Launch("step_gradients", (chunks * ((heads + 31) / 32), rows, 1), 256, shape.StepBackShared, to);
    }

    /// <summary>Returns the gradients of the inputs.</summary>
    public StateSpaceDualInputs Sum(StateSpaceDualInputs inputs)
    {
        var sums = PartialSumsCuda.Compute((Gradients.A, inputs.A), (Gradients.B, inputs.B), (Gradients.C, inputs.C), (Gradients.D, inputs.D),
            (Gradients.DtBias, inputs.DtBias));
        return Gradients with { A = sums[0]!, B = sums[1]!, C = sums[2]!, D = sums[3], DtBias = sums[4] };
    }
}
