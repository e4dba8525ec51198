using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Performs one call of the state-space dual: it knows the memory of the inputs and processes the tiles of a row in both directions.
/// </summary>
sealed unsafe class StateSpaceDualTask
{
    readonly StateSpaceDualCpu.Shape shape;
    readonly Tensor?[] roots;       // keeps the memory of the pointers alive
    readonly float* x, dt, A, B, C, D, dtBias;
    readonly long xRow, xToken, xHead, dtRow, dtToken, dtHead, bRow, bToken, bGroup, cRow, cToken, cGroup;
    readonly bool* starts;
    readonly IReadOnlyList<long>? rowLengths;
    readonly bool softplus;
    readonly (double Minimum, double Maximum)? dtLimit;

    public StateSpaceDualTask(StateSpaceDualCpu.Shape shape, StateSpaceDualInputs inputs, RowLayout layout)
    {
        (this.shape, softplus, dtLimit, rowLengths) = (shape, inputs.Softplus, inputs.DtLimit, layout.RowLengths);
        inputs = inputs with
        {
            X = CpuRows.From(inputs.X), Dt = CpuRows.From(inputs.Dt), A = CpuRows.Whole(inputs.A)!, B = CpuRows.From(inputs.B),
            C = CpuRows.From(inputs.C), D = CpuRows.Whole(inputs.D), DtBias = CpuRows.Whole(inputs.DtBias),
        };
        var documents = layout.Starts?.contiguous();
        roots = [.. inputs.Differentiable, documents];
        x = CpuRows.Pointer(inputs.X);
        dt = CpuRows.Pointer(inputs.Dt);
        A = CpuRows.Pointer(inputs.A);
        B = CpuRows.Pointer(inputs.B);
        C = CpuRows.Pointer(inputs.C);
        D = CpuRows.Pointer(inputs.D);
        dtBias = CpuRows.Pointer(inputs.DtBias);
        starts = documents is null ? null : (bool*)TensorMemory.Pointer(documents);
        (xRow, xToken, xHead) = Strides(inputs.X);
        (dtRow, dtToken, dtHead) = Strides(inputs.Dt);
        (bRow, bToken, bGroup) = Strides(inputs.B);
        (cRow, cToken, cGroup) = Strides(inputs.C);
    }

    static (long Row, long Token, long Third) Strides(Tensor tensor) => (tensor.stride(0), tensor.stride(1), tensor.stride(2));

    long Tasks => shape.Batch * shape.Groups * shape.TasksPerGroup;

    public void Forward(Tensor output, Tensor final, Tensor? states, Tensor? initial)
    {
        float* y = CpuRows.Pointer(output), end = CpuRows.Pointer(final), kept = CpuRows.Pointer(states), begin = CpuRows.Pointer(initial);
        CpuTasks.Run(Tasks, shape.Batch * shape.Length * shape.Heads * shape.HeadSize * 8, task => ForwardTask(task, y, end, kept, begin));
        GC.KeepAlive((output, final, states, initial));
        GC.KeepAlive(roots);
    }

    public void Backward(Tensor dOutput, Tensor? dFinal, Tensor states, StateSpaceDualGradients gradients)
    {
        float* dy = CpuRows.Pointer(dOutput), dEnd = CpuRows.Pointer(dFinal), kept = CpuRows.Pointer(states);
        var (row, time, head) = (dOutput.stride(0), dOutput.stride(1), dOutput.stride(2));
        try
        {
            CpuTasks.Run(Tasks, shape.Batch * shape.Length * shape.Heads * shape.HeadSize * 8,
                task => BackwardTask(task, dy, row, time, head, dEnd, kept, gradients));
        }
        catch (NullReferenceException error)
        {
            throw gradients.InvalidAddress(error);
        }
        GC.KeepAlive((dOutput, dFinal, states, gradients));
        GC.KeepAlive(roots);
    }

    (long Row, long Group, long Part, long FirstHead, int Heads) Part(long task)
    {
        var (rest, part) = Math.DivRem(task, shape.TasksPerGroup);
        var (row, group) = Math.DivRem(rest, shape.Groups);
        long first = part * shape.HeadsPerTask;
        return (row, group, part, group * shape.HeadsPerGroup + first, (int)Math.Min(shape.HeadsPerTask, shape.HeadsPerGroup - first));
    }

    void ForwardTask(long task, float* output, float* final, float* states, float* initial)
    {
        var (row, group, _, firstHead, heads) = Part(task);
        long length = rowLengths?[(int)row] ?? shape.Length;
        int p = shape.HeadSize, n = shape.StateSize;
        long square = (long)shape.PaddedState * shape.PaddedHead;
        var tile = new StateSpaceDualTile(shape.Tile, shape.PaddedHead, shape.PaddedState);
        using var scratch = new CpuTasks.Scratch(tile.ForwardFloats + heads * square);
        float* running = tile.PlaceForward(scratch.Memory);
        for (int h = 0; h < heads; h++)
            tile.LoadState(initial == null ? null : initial + (row * shape.Heads + firstHead + h) * p * n, p, n, running + h * square);

        for (long t = 0; t < length; t += shape.Tile)
        {
            tile.Begin((int)Math.Min(shape.Tile, length - t));
            tile.FindDocuments(starts == null ? null : starts + row * shape.Length + t);
            tile.LoadRows(B + row * bRow + t * bToken + group * bGroup, bToken, n, shape.PaddedState, tile.B);
            tile.LoadRows(C + row * cRow + t * cToken + group * cGroup, cToken, n, shape.PaddedState, tile.C);
            tile.Affinities();
            bool hasState = t > 0 || initial != null;
            for (int h = 0; h < heads; h++)
            {
                long head = firstHead + h;
                float* state = running + h * square;
                if (states != null && hasState)
                    Unsafe.CopyBlockUnaligned(states + ((row * shape.Heads + head) * shape.Tiles + t / shape.Tile) * square, state,
                        (uint)(square * sizeof(float)));
                Steps(tile, row, t, head);
                tile.LoadRows(x + row * xRow + t * xToken + head * xHead, xToken, p, shape.PaddedHead, tile.X);
                tile.Outputs(state, hasState, D == null ? 0 : D[head]);
                tile.StoreRows(tile.Y, shape.PaddedHead, p, output + ((row * shape.Length + t) * shape.Heads + head) * p, shape.Heads * p);
                tile.Advance(state, hasState);
            }
        }
        for (int h = 0; h < heads; h++)
            tile.StoreState(running + h * square, final + (row * shape.Heads + firstHead + h) * p * n, p, n);
        for (long t = length; t < shape.Length; t++)
            new Span<float>(output + ((row * shape.Length + t) * shape.Heads + firstHead) * p, heads * p).Clear();
    }

    void BackwardTask(long task, float* dOutput, long dRow, long dTime, long dHead, float* dFinal, float* states, StateSpaceDualGradients to)
    {
        var (row, group, part, firstHead, heads) = Part(task);
        long length = rowLengths?[(int)row] ?? shape.Length;
        int p = shape.HeadSize, n = shape.StateSize;
        long square = (long)shape.PaddedState * shape.PaddedHead;
        var tile = new StateSpaceDualTile(shape.Tile, shape.PaddedHead, shape.PaddedState);
        using var scratch = new CpuTasks.Scratch(tile.BackwardFloats + heads * square);
        float* running = tile.PlaceBackward(scratch.Memory);
        for (int h = 0; h < heads; h++)
            tile.LoadState(dFinal == null ? null : dFinal + (row * shape.Heads + firstHead + h) * p * n, p, n, running + h * square);
        double* totals = stackalloc double[3 * heads];      // of A, D and the bias
        new Span<double>(totals, 3 * heads).Clear();

        float* dB = to.B + (part * shape.Batch + row) * shape.Length * shape.Groups * n + group * n, dC = to.C + (dB - to.B);
        long between = shape.Groups * n;
        for (long t = (length - 1) / shape.Tile * shape.Tile; t >= 0 && length > 0; t -= shape.Tile)
        {
            tile.Begin((int)Math.Min(shape.Tile, length - t));
            tile.FindDocuments(starts == null ? null : starts + row * shape.Length + t);
            tile.LoadRows(B + row * bRow + t * bToken + group * bGroup, bToken, n, shape.PaddedState, tile.B);
            tile.LoadRows(C + row * cRow + t * cToken + group * cGroup, cToken, n, shape.PaddedState, tile.C);
            tile.Affinities();
            tile.ClearGroupGradients();
            bool hasState = t > 0 || to.Initial != null, hasAfter = t + shape.Tile < length || dFinal != null;
            for (int h = 0; h < heads; h++)
            {
                long head = firstHead + h;
                Steps(tile, row, t, head);
                tile.LoadRows(x + row * xRow + t * xToken + head * xHead, xToken, p, shape.PaddedHead, tile.X);
                tile.LoadRows(dOutput + row * dRow + t * dTime + head * dHead, dTime, p, shape.PaddedHead, tile.Y);
                float* state = states + ((row * shape.Heads + head) * shape.Tiles + t / shape.Tile) * square;
                tile.Gradients(state, hasState, running + h * square, hasAfter, A[head], D == null ? 0 : D[head], totals + 3 * h,
                    to.Dt + (row * shape.Length + t) * shape.Heads + head, shape.Heads);
                tile.StoreRows(tile.DX, shape.PaddedHead, p, to.X + ((row * shape.Length + t) * shape.Heads + head) * p, shape.Heads * p);
            }
            tile.GroupGradients();
            tile.StoreRows(tile.DB, shape.PaddedState, n, dB + t * between, between);
            tile.StoreRows(tile.DC, shape.PaddedState, n, dC + t * between, between);
        }
        for (int h = 0; h < heads; h++)
        {
            long head = row * shape.Heads + firstHead + h;
            to.A[head] = (float)totals[3 * h];
            if (to.D != null) to.D[head] = (float)totals[3 * h + 1];
            if (to.DtBias != null) to.DtBias[head] = (float)totals[3 * h + 2];
            if (to.Initial != null) tile.StoreState(running + h * square, to.Initial + head * p * n, p, n);
        }
        for (long t = length; t < shape.Length; t++)
        {
            long token = (row * shape.Length + t) * shape.Heads + firstHead;
            new Span<float>(to.X + token * p, heads * p).Clear();
            new Span<float>(to.Dt + token, heads).Clear();
            new Span<float>(dB + t * between, n).Clear();
            new Span<float>(dC + t * between, n).Clear();
        }
    }

    void Steps(StateSpaceDualTile tile, long row, long t, long head) =>
        tile.Steps(dt + row * dtRow + t * dtToken + head * dtHead, dtToken, dtBias == null ? 0 : dtBias[head], softplus, dtLimit, A[head]);
}
