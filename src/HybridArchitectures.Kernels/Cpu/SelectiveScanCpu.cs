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
        var type = typeof(TElement) == typeof(BFloat16Element) ? ScalarType.BFloat16 : ScalarType.Float32;
        var rowLengths = layout?.RowLengths;
        Tensor? Rows(Tensor? tensor) => tensor is null || tensor.dtype == type ? tensor : tensor.to(type);
        SelectiveScanTask<TElement> Task(IReadOnlyList<Tensor?> inputs, Tensor? starts) =>
            new(Rows(inputs[0])!, Rows(inputs[1])!, CpuRows.Whole(inputs[2])!, CpuRows.Whole(inputs[3])!, CpuRows.Whole(inputs[4])!, CpuRows.Whole(inputs[5]), Rows(inputs[6]),
                CpuRows.Whole(inputs[7]), softplus, rowLengths, starts);

        Tensor?[] inputs = [x, timeStep, a, b, c, skip, gate, timeStepBias, initialState];
        var results = Autograd.Apply(inputs, context =>
        {
            var task = Task(inputs, layout?.Starts);
            var output = empty([x.size(0), x.size(1), x.size(2)], type);
            var final = empty([x.size(0), x.size(2), a.size(1)], ScalarType.Float32);
            var states = context.NeedsGradient ? task.NewStates() : null;
            task.Forward(output, final, CpuRows.Whole(initialState), states);
            context.Save([.. inputs, layout?.Starts, states]);
            return [CpuRows.As(output, x), final];
        }, context =>
        {
            var saved = context.Saved;
            var task = Task(saved, saved[9]);
            var dOutput = Rows(context.Gradients[0]) ?? zeros([x.size(0), x.size(1), x.size(2)], type);
            var gradients = task.Backward(dOutput, CpuRows.Whole(context.Gradients[1]), saved[10]!, saved[8] is not null);
            for (int i = 0; i < gradients.Length; i++)
                gradients[i] = saved[i] is { } input && gradients[i] is { } gradient ? CpuRows.As(gradient, input) : null;
            return gradients;
        });
        return (results[0], results[1]);
    }

    /// <summary>One token for every row: b and c are (B, G, N).</summary>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate, Tensor? timeStepBias, bool softplus)
    {
        using var scope = NewDisposeScope();
        Tensor Row(Tensor tensor) => tensor.to(ScalarType.Float32).unsqueeze(1);
        var task = new SelectiveScanTask<Float32Element>(Row(x), Row(timeStep), CpuRows.Whole(a)!, CpuRows.Whole(b)!.unsqueeze(1), CpuRows.Whole(c)!.unsqueeze(1),
            CpuRows.Whole(skip), gate is null ? null : Row(gate), CpuRows.Whole(timeStepBias), softplus, null, null);
        var output = empty([x.size(0), 1, x.size(1)], ScalarType.Float32);
        task.Forward(output, state, state, null);
        return CpuRows.As(output, x).squeeze(1).MoveToOuterDisposeScope();
    }
}
