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
    readonly float* x, timeStep, a, b, c, skip, bias;
    readonly long xRow, xTime, xHead, stepRow, stepTime, stepHead, bRow, bTime, bGroup, cRow, cTime, cGroup;
    readonly bool* starts;
    readonly IReadOnlyList<long>? rowLengths;
    readonly bool softplus;
    readonly (double Minimum, double Maximum)? limit;

    public StateSpaceDualTask(StateSpaceDualCpu.Shape shape, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? bias,
        bool softplus, (double Minimum, double Maximum)? limit, IReadOnlyList<long>? rowLengths, Tensor? starts)
    {
        (this.shape, this.softplus, this.limit, this.rowLengths) = (shape, softplus, limit, rowLengths);
        starts = starts?.contiguous();
        roots = [x, timeStep, a, b, c, skip, bias, starts];
        this.x = CpuRows.Pointer(x); this.timeStep = CpuRows.Pointer(timeStep); this.a = CpuRows.Pointer(a);
        this.b = CpuRows.Pointer(b); this.c = CpuRows.Pointer(c);
        this.skip = CpuRows.Pointer(skip); this.bias = CpuRows.Pointer(bias);
        this.starts = starts is null ? null : (bool*)TensorMemory.Pointer(starts);
        (xRow, xTime, xHead) = (x.stride(0), x.stride(1), x.stride(2));
        (stepRow, stepTime, stepHead) = (timeStep.stride(0), timeStep.stride(1), timeStep.stride(2));
        (bRow, bTime, bGroup) = (b.stride(0), b.stride(1), b.stride(2));
        (cRow, cTime, cGroup) = (c.stride(0), c.stride(1), c.stride(2));
    }

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
        CpuTasks.Run(Tasks, shape.Batch * shape.Length * shape.Heads * shape.HeadSize * 8,
            task => BackwardTask(task, dy, row, time, head, dEnd, kept, gradients));
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
            tile.LoadRows(b + row * bRow + t * bTime + group * bGroup, bTime, n, shape.PaddedState, tile.B);
            tile.LoadRows(c + row * cRow + t * cTime + group * cGroup, cTime, n, shape.PaddedState, tile.C);
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
                tile.LoadRows(x + row * xRow + t * xTime + head * xHead, xTime, p, shape.PaddedHead, tile.X);
                tile.Outputs(state, hasState, skip == null ? 0 : skip[head]);
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
        double* totals = stackalloc double[3 * heads];      // of a, skip and bias
        new Span<double>(totals, 3 * heads).Clear();

        float* dB = to.B + (part * shape.Batch + row) * shape.Length * shape.Groups * n + group * n, dC = to.C + (dB - to.B);
        long between = shape.Groups * n;
        for (long t = (length - 1) / shape.Tile * shape.Tile; t >= 0 && length > 0; t -= shape.Tile)
        {
            tile.Begin((int)Math.Min(shape.Tile, length - t));
            tile.FindDocuments(starts == null ? null : starts + row * shape.Length + t);
            tile.LoadRows(b + row * bRow + t * bTime + group * bGroup, bTime, n, shape.PaddedState, tile.B);
            tile.LoadRows(c + row * cRow + t * cTime + group * cGroup, cTime, n, shape.PaddedState, tile.C);
            tile.Affinities();
            tile.ClearGroupGradients();
            bool hasState = t > 0 || to.Initial != null, hasAfter = t + shape.Tile < length || dFinal != null;
            for (int h = 0; h < heads; h++)
            {
                long head = firstHead + h;
                Steps(tile, row, t, head);
                tile.LoadRows(x + row * xRow + t * xTime + head * xHead, xTime, p, shape.PaddedHead, tile.X);
                tile.LoadRows(dOutput + row * dRow + t * dTime + head * dHead, dTime, p, shape.PaddedHead, tile.Y);
                float* state = states + ((row * shape.Heads + head) * shape.Tiles + t / shape.Tile) * square;
                tile.Gradients(state, hasState, running + h * square, hasAfter, a[head], skip == null ? 0 : skip[head], totals + 3 * h,
                    to.TimeStep + (row * shape.Length + t) * shape.Heads + head, shape.Heads);
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
            if (to.Skip != null) to.Skip[head] = (float)totals[3 * h + 1];
            if (to.Bias != null) to.Bias[head] = (float)totals[3 * h + 2];
            if (to.Initial != null) tile.StoreState(running + h * square, to.Initial + head * p * n, p, n);
        }
        for (long t = length; t < shape.Length; t++)
        {
            long token = (row * shape.Length + t) * shape.Heads + firstHead;
            new Span<float>(to.X + token * p, heads * p).Clear();
            new Span<float>(to.TimeStep + token, heads).Clear();
            new Span<float>(dB + t * between, n).Clear();
            new Span<float>(dC + t * between, n).Clear();
        }
    }

    void Steps(StateSpaceDualTile tile, long row, long t, long head) =>
        tile.Steps(timeStep + row * stepRow + t * stepTime + head * stepHead, stepTime, bias == null ? 0 : bias[head], softplus, limit, a[head]);
}
