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

    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? timeStepBias,
        bool softplus, (double Minimum, double Maximum)? timeStepLimit, Tensor? initialState, SequenceLayout? layout, int chunkSize)
    {
        var shape = Shape.From(x, b, chunkSize);
        var options = new Options(softplus, timeStepLimit, layout?.RowLengths);
        Tensor?[] inputs = [x, timeStep, a, b, c, skip, timeStepBias, initialState];
        var starts = layout?.Starts;
        var results = Autograd.Apply(inputs, context =>
        {
            var output = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Length, shape.Heads, shape.HeadSize);
            var final = CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads, shape.HeadSize, shape.StateSize);
            var states = context.NeedsGradient
                ? CpuRows.New(ScalarType.Float32, shape.Batch, shape.Heads, shape.Tiles, (long)shape.PaddedState * shape.PaddedHead) : null;
            Task(shape, options, inputs, starts).Forward(output, final, states, CpuRows.Whole(initialState));
            context.Save([.. inputs, starts, states]);
            return [CpuRows.As(output, x), final];
        }, Gradient(shape, options));
        return (results[0], results[1]);
    }

    sealed record Options(bool Softplus, (double Minimum, double Maximum)? Limit, IReadOnlyList<long>? RowLengths);

    // uses only saved tensors, because the caller's tensors may be disposed before the backward pass
    static Func<BackwardContext, Tensor?[]> Gradient(Shape shape, Options options) => context =>
    {
        var saved = context.Saved;
        var gradients = new StateSpaceDualGradients(shape, saved[5] is not null, saved[6] is not null, saved[7] is not null);
        var dOutput = context.Gradients[0] ?? zeros([shape.Batch, shape.Length, shape.Heads, shape.HeadSize], ScalarType.Float32);
        Task(shape, options, saved, saved[8]).Backward(CpuRows.From(dOutput), CpuRows.Whole(context.Gradients[1]), saved[9]!, gradients);
        return gradients.As(saved);
    };

    static StateSpaceDualTask Task(Shape shape, Options options, IReadOnlyList<Tensor?> inputs, Tensor? starts) =>
        new(shape, CpuRows.From(inputs[0]!), CpuRows.From(inputs[1]!), CpuRows.Whole(inputs[2])!, CpuRows.From(inputs[3]!), CpuRows.From(inputs[4]!),
            CpuRows.Whole(inputs[5]), CpuRows.Whole(inputs[6]), options.Softplus, options.Limit, options.RowLengths, starts);

    /// <summary>Computes one token for every row: the state is decayed, updated and read in one pass.</summary>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? timeStepBias,
        bool softplus, (double Minimum, double Maximum)? timeStepLimit)
    {
        using var scope = NewDisposeScope();
        var (inputs, steps, rates, keys, queries) =
            (CpuRows.Whole(x)!, CpuRows.Whole(timeStep)!, CpuRows.Whole(a)!, CpuRows.Whole(b)!, CpuRows.Whole(c)!);
        var (skips, biases) = (CpuRows.Whole(skip), CpuRows.Whole(timeStepBias));
        long batch = x.size(0), heads = x.size(1), headSize = x.size(2), groups = b.size(1), stateSize = b.size(2);
        var output = CpuRows.New(ScalarType.Float32, batch, heads, headSize);
        float* s = CpuRows.Pointer(state), px = CpuRows.Pointer(inputs), pd = CpuRows.Pointer(steps), pa = CpuRows.Pointer(rates),
            pb = CpuRows.Pointer(keys);
        float* pc = CpuRows.Pointer(queries), pk = CpuRows.Pointer(skips), pz = CpuRows.Pointer(biases), py = CpuRows.Pointer(output);
        void One(long index)
        {
            long row = index / heads, head = index % heads, group = head / (heads / groups);
            float delta = StateSpaceDualTile.TimeStep(pd[index] + (pz == null ? 0 : pz[head]), softplus, timeStepLimit);
            StateSpaceDualTile.Step(s + index * headSize * stateSize, px + index * headSize, delta, MathF.Exp(delta * pa[head]),
                pb + (row * groups + group) * stateSize, pc + (row * groups + group) * stateSize, pk == null ? 0 : pk[head], py + index * headSize,
                (int)headSize, (int)stateSize);
        }
        CpuTasks.Run(batch * heads, state.NumberOfElements / 2, One);
        var result = CpuRows.As(output, x);
        GC.KeepAlive((inputs, steps, rates, keys, queries, skips, biases, output));
        GC.KeepAlive(state);
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
        public static Shape From(Tensor x, Tensor b, int chunkSize)
        {
            long batch = x.size(0), heads = x.size(2), groups = b.size(2), share = heads / groups;
            int perTask = (int)Math.Min(share, 8);
            while (perTask > 1 && batch * groups * ((share + perTask - 1) / perTask) < EnoughTasks) perTask = (perTask + 1) / 2;
            return new(batch, x.size(1), heads, checked((int)x.size(3)), groups, checked((int)b.size(3)), Math.Clamp(chunkSize, 8, MaxTile), perTask);
        }
    }
}
