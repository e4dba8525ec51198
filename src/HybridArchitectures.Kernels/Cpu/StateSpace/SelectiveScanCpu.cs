using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Implements the selective scan on the CPU. <see cref="SelectiveScanTask{TElement}"/> contains the loops. The inputs, and the states at every 32nd
/// token, are saved for backward.
/// </summary>
static class SelectiveScanCpu
{
    sealed record Saved(SelectiveScanInputs Inputs, RowLayout Layout, Tensor? States) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Layout.Map(replace), replace(States));
    }

    /// <summary>Computes the scan. B and C have the dimension of groups.</summary>
    public static (Tensor Output, Tensor FinalState) Forward(SelectiveScanInputs inputs)
    {
        // one dtype for all rows; if they differ, float32 can represent both
        bool half = inputs.X.dtype == ScalarType.BFloat16 && inputs.Dt.dtype == ScalarType.BFloat16 && inputs.Z is not { dtype: ScalarType.Float32 };
        return half ? Forward<BFloat16Element>(inputs) : Forward<Float32Element>(inputs);
    }

    static (Tensor Output, Tensor FinalState) Forward<TElement>(SelectiveScanInputs inputs) where TElement : struct, IElement
    {
        var layout = RowLayout.From(inputs.Layout);
        var results = Autograd.Apply<Saved>(inputs.Differentiable, context =>
        {
            var task = new SelectiveScanTask<TElement>(inputs, layout);
            var output = CpuRows.New(TElement.Type, inputs.Batch, inputs.Length, inputs.Channels);
            var final = CpuRows.New(ScalarType.Float32, inputs.Batch, inputs.Channels, inputs.StateSize);
            var states = context.NeedsGradient ? task.NewStates() : null;
            task.Forward(output, final, CpuRows.Whole(inputs.InitialState), states);
            return ([CpuRows.As(output, inputs.X), final], new Saved(inputs, layout, states));
        }, Backward<TElement>);
        return (results[0], results[1]);
    }

    static Tensor?[] Backward<TElement>(BackwardContext context, Saved saved) where TElement : struct, IElement
    {
        var inputs = saved.Inputs;
        var task = new SelectiveScanTask<TElement>(inputs, saved.Layout);
        var dOutput = context.Gradients[0]?.to(TElement.Type) ?? zeros([inputs.Batch, inputs.Length, inputs.Channels], TElement.Type);
        var gradients = task.Backward(dOutput, CpuRows.Whole(context.Gradients[1]), saved.States!, inputs.InitialState is not null).Differentiable;
        var tensors = inputs.Differentiable;
        for (int i = 0; i < gradients.Length; i++)
            gradients[i] = tensors[i] is { } input && gradients[i] is { } gradient ? CpuRows.As(gradient, input) : null;
        return gradients;
    }

    /// <summary>Computes one token for every row, with one pass over the states of each channel.</summary>
    public static unsafe Tensor Step(Tensor state, SelectiveScanInputs inputs)
    {
        using var scope = NewDisposeScope();
        var whole = inputs.Map(CpuRows.Whole);
        long channels = inputs.Channels, groups = inputs.Groups;
        int states = (int)inputs.StateSize;
        bool softplus = inputs.Softplus;
        var output = CpuRows.New(ScalarType.Float32, inputs.Batch, channels);
        var memory = new StateMemory(state);
        float* x = CpuRows.Pointer(whole.X), dt = CpuRows.Pointer(whole.Dt), A = CpuRows.Pointer(whole.A), B = CpuRows.Pointer(whole.B);
        float* C = CpuRows.Pointer(whole.C), D = CpuRows.Pointer(whole.D), z = CpuRows.Pointer(whole.Z), dtBias = CpuRows.Pointer(whole.DtBias),
            y = CpuRows.Pointer(output);
        CpuTasks.Run(inputs.Batch * groups, state.NumberOfElements, task =>
        {
            var (row, group) = Math.DivRem(task, groups);
            long share = channels / groups, first = group * share, begin = row * channels + first;
            memory.Run(begin * states, checked((int)(share * states)), numbers =>
            {
                for (long d = first, i = begin; d < first + share; d++, i++)
                {
                    var step = Vector256.Create(dt[i] + (dtBias == null ? 0 : dtBias[d]));
                    if (softplus) step = VectorMath.Softplus(step);
                    float sum = StepChannel(numbers + (i - begin) * states, A + d * states, B + task * states, C + task * states, step, step * x[i],
                        states);
                    if (D != null) sum += D[d] * x[i];
                    if (z != null) sum *= z[i] * VectorMath.Sigmoid(Vector256.Create(z[i])).ToScalar();
                    y[i] = sum;
                }
            });
        });
        GC.KeepAlive((state, whole, output));
        return CpuRows.As(output, inputs.X).MoveToOuterDisposeScope();
    }

    static unsafe float StepChannel(float* state, float* A, float* B, float* C, Vector256<float> dt, Vector256<float> added, int states)
    {
        var exponent = dt * 1.44269504f;
        var sums = Vector256<float>.Zero;
        int n = 0;
        for (; n + 8 <= states; n += 8)
        {
            var value = Vector256.MultiplyAddEstimate(VectorMath.Exp2(exponent * Vector256.Load(A + n)), Vector256.Load(state + n),
                added * Vector256.Load(B + n));
            value.Store(state + n);
            sums = Vector256.MultiplyAddEstimate(value, Vector256.Load(C + n), sums);
        }
        float sum = Vector256.Sum(sums), step = dt.ToScalar(), input = added.ToScalar();
        for (; n < states; n++) sum += (state[n] = MathF.Exp(step * A[n]) * state[n] + input * B[n]) * C[n];
        return sum;
    }
}
