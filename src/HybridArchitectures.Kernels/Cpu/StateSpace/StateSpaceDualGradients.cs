using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Contains the results of the backward pass of the state-space dual: float32. Results to which several tasks add have one part per task, and the
/// parts are summed in a fixed order.
/// </summary>
sealed unsafe class StateSpaceDualGradients
{
    readonly StateSpaceDualInputs parts;

    public StateSpaceDualGradients(StateSpaceDualCpu.Shape shape, StateSpaceDualInputs inputs)
    {
        Tensor New(params ReadOnlySpan<long> sizes) => CpuRows.New(ScalarType.Float32, sizes);
        Tensor Grouped() => New(shape.TasksPerGroup, shape.Batch, shape.Length, shape.Groups, shape.StateSize);
        parts = new(New(shape.Batch, shape.Length, shape.Heads, shape.HeadSize), New(shape.Batch, shape.Length, shape.Heads),
            New(shape.Batch, shape.Heads), Grouped(), Grouped())
        {
            D = inputs.D is null ? null : New(shape.Batch, shape.Heads), DtBias = inputs.DtBias is null ? null : New(shape.Batch, shape.Heads),
            InitialState = inputs.InitialState is null ? null : New(shape.Batch, shape.Heads, shape.HeadSize, shape.StateSize),
        };
        X = CpuRows.Pointer(parts.X);
        Dt = CpuRows.Pointer(parts.Dt);
        A = CpuRows.Pointer(parts.A);
        B = CpuRows.Pointer(parts.B);
        C = CpuRows.Pointer(parts.C);
        D = CpuRows.Pointer(parts.D);
        DtBias = CpuRows.Pointer(parts.DtBias);
        Initial = CpuRows.Pointer(parts.InitialState);
    }

    /// <summary>Contains the gradients of x (B, L, H, P), dt (B, L, H) and A (B, H), and of B and C (tasks, B, L, G, N).</summary>
    public readonly float* X, Dt, A, B, C;

    /// <summary>Contains the gradients of D and the bias (B, H), and of the initial state (B, H, P, N), or null.</summary>
    public readonly float* D, DtBias, Initial;

    /// <summary>Returns the gradients in the order and the dtypes of the inputs.</summary>
    public Tensor?[] As(StateSpaceDualInputs inputs)
    {
        var sums = (parts with
        {
            A = parts.A.sum(dim: 0), B = Total(parts.B), C = Total(parts.C), D = parts.D?.sum(dim: 0), DtBias = parts.DtBias?.sum(dim: 0),
        }).Differentiable;
        var tensors = inputs.Differentiable;
        return [.. sums.Select((sum, i) => sum is null ? null : CpuRows.As(sum, tensors[i]!))];
    }

    /// <summary>
    /// Returns the error of a task that accessed an invalid address. The runtime reports null and addresses that no process can have alike. The text
    /// shows whether the addresses here are still those of the results.
    /// </summary>
    public InvalidOperationException InvalidAddress(NullReferenceException error)
    {
        string Part(string name, float* here, Tensor? part) => $"{name} 0x{(nint)here:x} of 0x{(nint)CpuRows.Pointer(part):x}";
        return new($"the backward pass of the state-space dual accessed an invalid address; expected those of its results: {Part("x", X, parts.X)}, "
            + $"{Part("dt", Dt, parts.Dt)}, {Part("A", A, parts.A)}, {Part("B", B, parts.B)}, {Part("C", C, parts.C)}, {Part("D", D, parts.D)}, "
            + $"{Part("dtBias", DtBias, parts.DtBias)}, {Part("initialState", Initial, parts.InitialState)}", error);
    }

    static Tensor Total(Tensor parts) => parts.size(0) == 1 ? parts.squeeze(0) : parts.sum(dim: 0);
}
