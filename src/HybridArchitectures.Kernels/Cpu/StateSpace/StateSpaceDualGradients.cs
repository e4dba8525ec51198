using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Contains the results of the backward pass of the state-space dual: float32. Results to which several tasks add have one part per task, and the
/// parts are summed in a fixed order.
/// </summary>
sealed unsafe class StateSpaceDualGradients
{
    readonly Tensor x, timeStep, a, b, c;
    readonly Tensor? skip, bias, initial;

    public StateSpaceDualGradients(StateSpaceDualCpu.Shape shape, bool hasSkip, bool hasBias, bool hasInitial)
    {
        x = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Length, shape.Heads, shape.HeadSize);
        timeStep = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Length, shape.Heads);
        a = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads);
        b = CpuRows.New(ScalarType.Float32, shape.TasksPerGroup, shape.Batch, shape.Length, shape.Groups, shape.StateSize);
        c = CpuRows.New(ScalarType.Float32, shape.TasksPerGroup, shape.Batch, shape.Length, shape.Groups, shape.StateSize);
        skip = hasSkip ? CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads) : null;
        bias = hasBias ? CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads) : null;
        initial = hasInitial ? CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads, shape.HeadSize, shape.StateSize) : null;
        X = CpuRows.Pointer(x); TimeStep = CpuRows.Pointer(timeStep); A = CpuRows.Pointer(a); B = CpuRows.Pointer(b);
        C = CpuRows.Pointer(c);
        Skip = CpuRows.Pointer(skip); Bias = CpuRows.Pointer(bias); Initial = CpuRows.Pointer(initial);
    }

    /// <summary>The gradients of x (B, L, H, P), the time step (B, L, H) and a (B, H), and of b and c (tasks, B, L, G, N).</summary>
    public readonly float* X, TimeStep, A, B, C;

    /// <summary>The gradients of skip and bias (B, H), and of the initial state (B, H, P, N), or null.</summary>
    public readonly float* Skip, Bias, Initial;

    /// <summary>Returns the gradients in the order and the dtypes of the inputs.</summary>
    public Tensor?[] As(IReadOnlyList<Tensor?> inputs)
    {
        var results = new Tensor?[8];
        Tensor?[] sums = [x, timeStep, a.sum(dim: 0), Total(b), Total(c), skip?.sum(dim: 0), bias?.sum(dim: 0), initial];
        for (int i = 0; i < results.Length; i++) results[i] = sums[i] is { } sum ? CpuRows.As(sum, inputs[i]!) : null;
        return results;
    }

    static Tensor Total(Tensor parts) => parts.size(0) == 1 ? parts.squeeze(0) : parts.sum(dim: 0);
}
