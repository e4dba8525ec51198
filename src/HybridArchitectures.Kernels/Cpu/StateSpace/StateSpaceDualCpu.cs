using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Implements the state-space dual on the CPU, forward and backward. <see cref="StateSpaceDualTile"/> contains the arithmetic.
/// <para>
/// A task is one row and a few heads of one group. It processes the row in tiles of up to 64 tokens with the states of its heads in the cache, which
/// the products of a tile (64 x 64 x state and head size) never leave. The inputs and the state at the start of each tile are saved for backward. Per
/// token and head, forward needs 2 N P + 32 (P + N / heads of a task) multiply-adds, and backward about twice that number. Memory is read and written
/// once.
/// </para>
/// <para>
/// Measured on one core of a Zen 4 server: 69 GFLOP/s forward with 8 x 256 tokens, 4 heads of size 64 and state size 64. libtorch's batched product
/// of 64 x 64 matrices alone reaches 88 GFLOP/s, and the chunked form composed of it takes 3 to 4 times as long.
/// </para>
/// </summary>
static unsafe class StateSpaceDualCpu
{
    const int MaxTile = 64;
    const int EnoughTasks = 8;

    sealed record Saved(StateSpaceDualInputs Inputs, RowLayout Layout, Tensor? States) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Layout.Map(replace), replace(States));
    }

    public static (Tensor Output, Tensor FinalState) Forward(StateSpaceDualInputs inputs)
    {
        var layout = RowLayout.From(inputs.Layout);
        var results = Autograd.Apply<Saved>(inputs.Differentiable, context =>
        {
            var shape = Shape.From(inputs);
            var output = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Length, shape.Heads, shape.HeadSize);
            var final = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads, shape.HeadSize, shape.StateSize);
            var states = context.NeedsGradient
                ? CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads, shape.Tiles, (long)shape.PaddedState * shape.PaddedHead) : null;
            new StateSpaceDualTask(shape, inputs, layout).Forward(output, final, states, CpuRows.Whole(inputs.InitialState));
            return ([CpuRows.As(output, inputs.X), final], new Saved(inputs, layout, states));
        }, Backward);
        return (results[0], results[1]);
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var shape = Shape.From(saved.Inputs);
        var gradients = new StateSpaceDualGradients(shape, saved.Inputs);
        var dOutput = context.Gradients[0] ?? zeros([shape.Batch, shape.Length, shape.Heads, shape.HeadSize], ScalarType.Float32);
        new StateSpaceDualTask(shape, saved.Inputs, saved.Layout).Backward(
            CpuRows.From(dOutput), CpuRows.Whole(context.Gradients[1]), saved.States!, gradients);
        return gradients.As(saved.Inputs);
    }

    /// <summary>Computes one token for every row: the state is decayed, updated and read in one pass.</summary>
    public static Tensor Step(Tensor state, StateSpaceDualInputs inputs)
    {
        using var scope = NewDisposeScope();
        var whole = inputs.Map(CpuRows.Whole);
        long batch = inputs.Batch, heads = inputs.Heads, headSize = inputs.HeadSize, groups = inputs.Groups, stateSize = inputs.StateSize;
        var output = CpuRows.New(ScalarType.Float32, batch, heads, headSize);
        var (softplus, dtLimit) = (inputs.Softplus, inputs.DtLimit);
        var memory = new StateMemory(state);
        float* x = CpuRows.Pointer(whole.X), dt = CpuRows.Pointer(whole.Dt), A = CpuRows.Pointer(whole.A), B = CpuRows.Pointer(whole.B);
        float* C = CpuRows.Pointer(whole.C), D = CpuRows.Pointer(whole.D), dtBias = CpuRows.Pointer(whole.DtBias), y = CpuRows.Pointer(output);
        void One(long index)
        {
            long row = index / heads, head = index % heads, group = head / (heads / groups);
            float step = StateSpaceDualTile.TimeStep(dt[index] + (dtBias == null ? 0 : dtBias[head]), softplus, dtLimit);
            memory.Run(index * headSize * stateSize, checked((int)(headSize * stateSize)), numbers =>
                StateSpaceDualTile.Step(numbers, x + index * headSize, step, MathF.Exp(step * A[head]), B + (row * groups + group) * stateSize,
                C + (row * groups + group) * stateSize, D == null ? 0 : D[head], y + index * headSize, (int)headSize, (int)stateSize));
        }
        CpuTasks.Run(batch * heads, state.NumberOfElements / 2, One);
        var result = CpuRows.As(output, inputs.X);
        GC.KeepAlive((state, whole, output));
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>Contains the sizes, and how the work is divided.</summary>
    public sealed record Shape(long Batch, long Length, long Heads, int HeadSize, long Groups, int StateSize, int Tile, int HeadsPerTask)
    {
        public int PaddedHead => (HeadSize + 7) & ~7;
        public int PaddedState => (StateSize + 7) & ~7;
        public long Tiles => (Length + Tile - 1) / Tile;
        public long HeadsPerGroup => Heads / Groups;
        public long TasksPerGroup => (HeadsPerGroup + HeadsPerTask - 1) / HeadsPerTask;

        // depends only on the sizes and not on the number of cores, so results are bit-identical on any number
        public static Shape From(StateSpaceDualInputs inputs)
        {
            long batch = inputs.Batch, heads = inputs.Heads, groups = inputs.Groups, share = heads / groups;
            int perTask = (int)Math.Min(share, 8);
            while (perTask > 1 && batch * groups * ((share + perTask - 1) / perTask) < EnoughTasks) perTask = (perTask + 1) / 2;
            return new(batch, inputs.Length, heads, checked((int)inputs.HeadSize), groups, checked((int)inputs.StateSize),
                Math.Clamp(inputs.ChunkSize, 8, MaxTile), perTask);
        }
    }
}
