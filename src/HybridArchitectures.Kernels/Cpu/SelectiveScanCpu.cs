using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>The selective scan on CPU cores; <see cref="SelectiveScanTask{TElement}"/> holds the loops. Saved for the gradient: the inputs and the states every 32 tokens.</summary>
static class SelectiveScanCpu
{
    /// <summary>b and c are (B, L, G, N).</summary>
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate,
        Tensor? timeStepBias, bool softplus, Tensor? initialState, SequenceLayout? layout)
    {
        // one type for all rows; where they differ, float32 holds either
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

    // of what is saved alone: a caller's tensors may be gone when gradients are asked for
    static Func<BackwardContext, Tensor?[]> Gradient<TElement>(bool softplus, IReadOnlyList<long>? rowLengths) where TElement : struct, IElement => context =>
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

    static SelectiveScanTask<TElement> Task<TElement>(IReadOnlyList<Tensor?> inputs, bool softplus, IReadOnlyList<long>? rowLengths, Tensor? starts) where TElement : struct, IElement =>
        new(Rows<TElement>(inputs[0])!, Rows<TElement>(inputs[1])!, CpuRows.Whole(inputs[2])!, CpuRows.Whole(inputs[3])!, CpuRows.Whole(inputs[4])!, CpuRows.Whole(inputs[5]),
            Rows<TElement>(inputs[6]), CpuRows.Whole(inputs[7]), softplus, rowLengths, starts);

    static ScalarType Type<TElement>() => typeof(TElement) == typeof(BFloat16Element) ? ScalarType.BFloat16 : ScalarType.Float32;

    static Tensor? Rows<TElement>(Tensor? tensor) => tensor is null || tensor.dtype == Type<TElement>() ? tensor : tensor.to(Type<TElement>());

    /// <summary>One token for every row: b and c are (B, G, N).</summary>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate, Tensor? timeStepBias, bool softplus)
    {
        using var scope = NewDisposeScope();
        Tensor Row(Tensor tensor) => tensor.to(ScalarType.Float32).unsqueeze(1);
        var task = new SelectiveScanTask<Float32Element>(Row(x), Row(timeStep), CpuRows.Whole(a)!, CpuRows.Whole(b)!.unsqueeze(1), CpuRows.Whole(c)!.unsqueeze(1),
            CpuRows.Whole(skip), gate is null ? null : Row(gate), CpuRows.Whole(timeStepBias), softplus, null, null);
        var output = CpuRows.New(ScalarType.Float32, x.size(0), 1, x.size(1));
        task.Forward(output, state, state, null);
        return CpuRows.As(output, x).squeeze(1).MoveToOuterDisposeScope();
    }
}
