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
    /// <summary>Computes the scan. b and c have shape (B, L, G, N).</summary>
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate,
        Tensor? timeStepBias, bool softplus, Tensor? initialState, SequenceLayout? layout)
    {
        // one dtype for all rows; if they differ, float32 can represent both
        bool half = x.dtype == ScalarType.BFloat16 && timeStep.dtype == ScalarType.BFloat16 && gate is not { dtype: ScalarType.Float32 };
        return half ? Forward<BFloat16Element>(x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, initialState, layout)
            : Forward<Float32Element>(x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, initialState, layout);
    }

    static (Tensor Output, Tensor FinalState) Forward<TElement>(Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate,
        Tensor? timeStepBias, bool softplus, Tensor? initialState, SequenceLayout? layout) where TElement : struct, IElement
    {
        Tensor?[] inputs = [x, timeStep, a, b, c, skip, gate, timeStepBias, initialState];
        var (rowLengths, starts) = (layout?.RowLengths, layout?.Starts);
        var results = Autograd.Apply(inputs, context =>
        {
            var task = Task<TElement>(inputs, softplus, rowLengths, starts);
            var output = CpuRows.New(Type<TElement>(), x.size(0), x.size(1), x.size(2));
            var final = CpuRows.New(ScalarType.Float32, x.size(0), x.size(2), a.size(1));
            var states = context.NeedsGradient ? task.NewStates() : null;
            task.Forward(output, final, CpuRows.Whole(initialState), states);
            context.Save([.. inputs, starts, states]);
            return [CpuRows.As(output, x), final];
        }, Gradient<TElement>(softplus, rowLengths));
        return (results[0], results[1]);
    }

    // uses only saved tensors, because the caller's tensors may be disposed before the backward pass
    static Func<BackwardContext, Tensor?[]> Gradient<TElement>(bool softplus, IReadOnlyList<long>? rowLengths) where TElement : struct, IElement =>
        context =>
    {
        var saved = context.Saved;
        var x = saved[0]!;
        var task = Task<TElement>(saved, softplus, rowLengths, saved[9]);
        var dOutput = Rows<TElement>(context.Gradients[0]) ?? zeros([x.size(0), x.size(1), x.size(2)], Type<TElement>());
        var gradients = task.Backward(dOutput, CpuRows.Whole(context.Gradients[1]), saved[10]!, saved[8] is not null);
        for (int i = 0; i < gradients.Length; i++)
            gradients[i] = saved[i] is { } input && gradients[i] is { } gradient ? CpuRows.As(gradient, input) : null;
        return gradients;
    };

    static SelectiveScanTask<TElement> Task<TElement>(IReadOnlyList<Tensor?> inputs, bool softplus, IReadOnlyList<long>? rowLengths, Tensor? starts)
        where TElement : struct, IElement =>
        new(Rows<TElement>(inputs[0])!, Rows<TElement>(inputs[1])!, CpuRows.Whole(inputs[2])!, CpuRows.Whole(inputs[3])!, CpuRows.Whole(inputs[4])!,
            CpuRows.Whole(inputs[5]), Rows<TElement>(inputs[6]), CpuRows.Whole(inputs[7]), softplus, rowLengths, starts);

    static ScalarType Type<TElement>() => typeof(TElement) == typeof(BFloat16Element) ? ScalarType.BFloat16 : ScalarType.Float32;

    static Tensor? Rows<TElement>(Tensor? tensor) => tensor is null || tensor.dtype == Type<TElement>() ? tensor : tensor.to(Type<TElement>());

    /// <summary>Computes one token for every row, with one pass over the states of each channel. b and c have shape (B, G, N).</summary>
    public static unsafe Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate,
        Tensor? timeStepBias, bool softplus)
    {
        using var scope = NewDisposeScope();
        Tensor?[] roots = [CpuRows.Whole(x), CpuRows.Whole(timeStep), CpuRows.Whole(a), CpuRows.Whole(b), CpuRows.Whole(c), CpuRows.Whole(skip),
            CpuRows.Whole(gate), CpuRows.Whole(timeStepBias)];
        long channels = x.size(1), groups = b.size(1);
        int states = (int)a.size(1);
        var output = CpuRows.New(ScalarType.Float32, x.size(0), channels);
        float* h = CpuRows.Pointer(state), inputs = CpuRows.Pointer(roots[0]), steps = CpuRows.Pointer(roots[1]), rates = CpuRows.Pointer(roots[2]),
            keys = CpuRows.Pointer(roots[3]);
        float* queries = CpuRows.Pointer(roots[4]), skips = CpuRows.Pointer(roots[5]), gates = CpuRows.Pointer(roots[6]),
            biases = CpuRows.Pointer(roots[7]), y = CpuRows.Pointer(output);
        CpuTasks.Run(x.size(0) * groups, state.NumberOfElements, task =>
        {
            var (row, group) = Math.DivRem(task, groups);
            for (long d = group * (channels / groups), end = d + channels / groups, i = row * channels + d; d < end; d++, i++)
            {
                var delta = Vector256.Create(steps[i] + (biases == null ? 0 : biases[d]));
                if (softplus) delta = VectorMath.Softplus(delta);
                float sum = StepChannel(h + i * states, rates + d * states, keys + task * states, queries + task * states, delta, delta * inputs[i],
                    states);
                if (skips != null) sum += skips[d] * inputs[i];
                if (gates != null) sum *= gates[i] * VectorMath.Sigmoid(Vector256.Create(gates[i])).ToScalar();
                y[i] = sum;
            }
        });
        GC.KeepAlive((state, roots, output));
        return CpuRows.As(output, x).MoveToOuterDisposeScope();
    }

    static unsafe float StepChannel(float* state, float* rates, float* b, float* c, Vector256<float> delta, Vector256<float> input, int states)
    {
        var exponent = delta * 1.44269504f;
        var sums = Vector256<float>.Zero;
        int n = 0;
        for (; n + 8 <= states; n += 8)
        {
            var value = Vector256.MultiplyAddEstimate(VectorMath.Exp2(exponent * Vector256.Load(rates + n)), Vector256.Load(state + n),
                input * Vector256.Load(b + n));
            value.Store(state + n);
            sums = Vector256.MultiplyAddEstimate(value, Vector256.Load(c + n), sums);
        }
        float sum = Vector256.Sum(sums), step = delta.ToScalar(), added = input.ToScalar();
        for (; n < states; n++) sum += (state[n] = MathF.Exp(step * rates[n]) * state[n] + added * b[n]) * c[n];
        return sum;
    }
}
