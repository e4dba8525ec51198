using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

// the backward pass
sealed unsafe partial class SelectiveScanTask<TElement>
{
    /// <summary>Returns the gradient of every input under its name.</summary>
    public SelectiveScanInputs Backward(Tensor dOutput, Tensor? dFinal, Tensor saved, bool hasInitial)
    {
        if (channels > 1 && dOutput.stride(2) != 1) dOutput = dOutput.contiguous();
        Tensor New(params ReadOnlySpan<long> sizes) => CpuRows.New(ScalarType.Float32, sizes);
        Tensor NewRows() => CpuRows.New(dOutput.dtype, batch, length, channels);
        static byte* Bytes(Tensor? tensor) => tensor is null ? null : (byte*)TensorMemory.Pointer(tensor);
        // tasks of a row or a group write separate parts, which are summed
        var parts = new SelectiveScanInputs(NewRows(), NewRows(), New(batch, channels, states),
            New(Blocks, batch, length, groups, states), New(Blocks, batch, length, groups, states))
        {
            Z = z == null ? null : NewRows(), D = New(batch, channels), DtBias = New(batch, channels),
            InitialState = hasInitial ? New(batch, channels, states) : null,
        };
        var to = new Targets
        {
            DOutput = Bytes(dOutput), Row = dOutput.stride(0) * TElement.Size, Token = dOutput.stride(1) * TElement.Size,
            DFinal = CpuRows.Pointer(dFinal), Saved = CpuRows.Pointer(saved), X = Bytes(parts.X), Dt = Bytes(parts.Dt), Z = Bytes(parts.Z),
            A = CpuRows.Pointer(parts.A), B = CpuRows.Pointer(parts.B), C = CpuRows.Pointer(parts.C), D = CpuRows.Pointer(parts.D),
            DtBias = CpuRows.Pointer(parts.DtBias), Initial = CpuRows.Pointer(parts.InitialState),
        };
        CpuTasks.Run(batch * groups * Blocks, Work, task => BackwardTask(task, to));
        GC.KeepAlive((dOutput, dFinal, saved, roots));
        static Tensor Total(Tensor parts) => parts.size(0) == 1 ? parts.squeeze(0) : parts.sum(dim: 0);
        return parts with
        {
            A = Total(parts.A), B = Total(parts.B), C = Total(parts.C), D = Total(parts.D), DtBias = Total(parts.DtBias),
        };
    }

    sealed class Targets
    {
        public required byte* DOutput, X, Dt, Z;
        public required float* DFinal, Saved, A, B, C, D, DtBias, Initial;
        public required long Row, Token;
    }

    void BackwardTask(long task, Targets to)
    {
        int size = block * states, row = states * Lanes, cube = Piece * row;
        using var scratch = new CpuTasks.Scratch(PlaceFloats + size + 4L * cube + 2 * row + 3L * Piece * block + 2 * block);
        var item = Begin(task, scratch.Memory);
        float* dRates = scratch.Memory + PlaceFloats, none = dRates + size;         // the gradient of a: (vectors, N, 8); a state of zeros: (N, 8)
        float* decays = none + row, history = decays + cube;                        // of one vector: (Piece, N, 8), and the states (1 + Piece, N, 8)
        float* dB = history + row + cube, dC = dB + cube;                           // of all vectors, lane by lane: (Piece, N, 8)
        float* dInput = dC + cube, dDts = dInput + Piece * block;                 // (Piece, block)
        float* dy = dDts + Piece * block, sums = dy + Piece * block;              // (Piece, block), and skip and bias: (2, block)
        new Span<float>(dRates, size + row).Clear();
        new Span<float>(sums, 2 * block).Clear();
        long stateAt = (item.Row * channels + item.First) * states;
        Gather(to.DFinal == null ? null : to.DFinal + stateAt, item.Count, 1, item.Running);
        long between = groups * states, parts = ((item.Part * batch + item.Row) * length * groups + item.Group) * states;

        for (long from = (item.Length - 1) / Piece * Piece; from >= 0 && item.Length > 0; from -= Piece)
        {
            int tokens = (int)Math.Min(Piece, item.Length - from);
            float* begin = to.Saved + (task * Pieces + from / Piece) * size;
            Load(item, from, tokens);
            new Span<float>(dB, 2 * cube).Clear();
            long token = ((item.Row * length + from) * groups + item.Group) * states;
            for (int v = 0; v < item.Vectors; v++)
            {
                Unsafe.CopyBlockUnaligned(history, begin + v * row, (uint)(row * sizeof(float)));
                if (Bounded(item, v)) Repeat<BoundedExponent>(item, v, from, tokens, decays, history, none, B + token, C + token);
                else Repeat<AnyExponent>(item, v, from, tokens, decays, history, none, B + token, C + token);
                if (v < item.Whole) OutputGradients<WholeVectors>(item, from, tokens, v, v + 1, to, dy);
                else OutputGradients<PartOfVector>(item, from, tokens, v, v + 1, to, dy);
                ReverseVector(item, v, from, tokens, decays, history, none, B + token, C + token, dy, dB, dC, dRates + v * row, dInput, dDts);
            }
            InputGradients<WholeVectors>(item, from, tokens, 0, item.Whole, to, dy, dInput, dDts, sums);
            if (item.Whole < item.Vectors)
                InputGradients<PartOfVector>(item, from, tokens, item.Whole, item.Vectors, to, dy, dInput, dDts, sums);
            for (int i = 0; i < tokens; i++)
                for (int n = 0; n < states; n++)
                {
                    to.B[parts + (from + i) * between + n] = Vector256.Sum(Vector256.Load(dB + (i * states + n) * Lanes));
                    to.C[parts + (from + i) * between + n] = Vector256.Sum(Vector256.Load(dC + (i * states + n) * Lanes));
                }
        }
        Scatter(dRates, item.Count, to.A + stateAt);
        if (to.Initial != null) Scatter(item.Running, item.Count, to.Initial + stateAt);
        new Span<float>(sums, item.Count).CopyTo(new Span<float>(to.D + item.Row * channels + item.First, item.Count));
        new Span<float>(sums + block, item.Count).CopyTo(new Span<float>(to.DtBias + item.Row * channels + item.First, item.Count));
        for (long t = item.Length; t < length; t++)
        {
            Clear(to.X, item, t);
            Clear(to.Dt, item, t);
            if (to.Z != null) Clear(to.Z, item, t);
            new Span<float>(to.B + parts + t * between, states).Clear();
            new Span<float>(to.C + parts + t * between, states).Clear();
        }
    }

    // repeats the scan from a saved state and stores decays and states of every token, and y if the gate needs it
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    void Repeat<TExponent>(in WorkItem item, int v, long from, int tokens, float* decays, float* history, float* none, float* B, float* C)
        where TExponent : struct, IExponent
    {
        float* rates = item.Rates + v * states * Lanes;
        int count = states, row = count * Lanes;
        long between = groups * states, next = Math.Max(from - Piece, 0), time = (v & 1) == 0 ? xToken : dtToken;
        byte* ahead = Ahead((v & 1) == 0 ? InputAt(item, next) : DtAt(item, next), v);
        bool gated = z != null;
        for (int i = 0; i < tokens; i++, B += between, C += between, decays += row, history += row, ahead += time)
        {
            Prefetch(ahead);
            float* before = Starts(item, from + i) ? none : history, after = history + row;
            var (step, added) = (Vector256.Load(item.Dt + i * block + v * Lanes), Vector256.Load(item.Input + i * block + v * Lanes));
            for (int n = 0, k = 0; n < count; n++, k += Lanes)
            {
                var decay = TExponent.Exp2(step, Vector256.Load(rates + k));
                decay.Store(decays + k);
                Vector256.MultiplyAddEstimate(decay, Vector256.Load(before + k), added * Vector256.Create(B[n])).Store(after + k);
            }
            if (!gated) continue;
            Vector256<float> even = default, odd = default;
            for (int n = 0, k = 0; n < count; n++, k += Lanes)
                (even, odd) = (odd, Vector256.MultiplyAddEstimate(Vector256.Load(after + k), Vector256.Create(C[n]), even));
            (even + odd).Store(item.Output + i * block + v * Lanes);
        }
    }

    // the backward pass of the gate: dy, and the gradient of the gate
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    void OutputGradients<TWidth>(in WorkItem item, long from, int tokens, int first, int end, Targets to, float* dy)
        where TWidth : struct, IVectorWidth
    {
        byte* dOutput = to.DOutput + item.Row * to.Row + from * to.Token + item.First * TElement.Size;
        byte* gates = z == null ? null : z + item.Row * zRow + from * zToken + item.First * TElement.Size;
        byte* dz = to.Z + ((item.Row * length + from) * channels + item.First) * TElement.Size;
        float* sum = item.Output, raw = item.Raw, skips = item.D;
        int count = item.Count, wide = block;
        long between = channels * TElement.Size;
        for (int i = 0; i < tokens; i++, dOutput += to.Token, gates += zToken, dz += between, sum += wide, raw += wide, dy += wide)
            for (int c = first * Lanes; c < end * Lanes; c += Lanes)
            {
                var gradient = TWidth.Load<TElement>(dOutput, c, count);
                if (gates != null)
                {
                    var g = TWidth.Load<TElement>(gates, c, count);
                    var sigmoid = VectorMath.Sigmoid(g);
                    var y = Vector256.MultiplyAddEstimate(Vector256.Load(skips + c), Vector256.Load(raw + c), Vector256.Load(sum + c));
                    TWidth.Store<TElement>(dz, c, count, gradient * y * VectorMath.SiluSlope(g, sigmoid));
                    gradient *= g * sigmoid;
                }
                gradient.Store(dy + c);
            }
    }

    // From the end: with g[t] the gradient of h[t], g[t-1] = decay[t] g[t] + C[t-1] dy[t-1], and the gradient of the exponent is decay[t] g[t]
    // h[t-1]. Two tokens at a time, so that g, A and its gradient are read and written half as often.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    void ReverseVector(in WorkItem item, int v, long from, int tokens, float* decays, float* history, float* none, float* B, float* C,
        float* dy, float* dB, float* dC, float* dRates, float* dInput, float* dDts)
    {
        float* rates = item.Rates + v * states * Lanes, g = item.Running + v * states * Lanes;
        int count = states, row = count * Lanes, wide = block;
        long between = groups * states;
        for (int i = tokens - 1; i >= 0; i--)
        {
            int at = i * wide + v * Lanes;
            bool pair = i > 0 && !Starts(item, from + i), first = Starts(item, from + i - (pair ? 1 : 0));
            float* decay = decays + i * row, now = history + (i + 1) * row, before = first && !pair ? none : now - row;
            float* toB = dB + i * row, toC = dC + i * row, bs = B + i * between, cs = C + i * between;
            var (step, added, out1) = (Vector256.Load(item.Dt + at), Vector256.Load(item.Input + at), Vector256.Load(dy + at));
            Vector256<float> inputs = default, exponents = default;
            if (pair)
            {
                float* earlier = first ? none : before - row;
                at -= wide;
                var (step2, added2, out2) = (Vector256.Load(item.Dt + at), Vector256.Load(item.Input + at), Vector256.Load(dy + at));
                Vector256<float> inputs2 = default, exponents2 = default;
                for (int n = 0, k = 0; n < count; n++, k += Lanes)
                {
                    var (rate, dRate, middle) = (Vector256.Load(rates + k), Vector256.Load(dRates + k), Vector256.Load(before + k));
                    var gradient = Vector256.MultiplyAddEstimate(out1, Vector256.Create(cs[n]), Vector256.Load(g + k));
                    Vector256.MultiplyAddEstimate(out1, Vector256.Load(now + k), Vector256.Load(toC + k)).Store(toC + k);
                    Vector256.MultiplyAddEstimate(gradient, added, Vector256.Load(toB + k)).Store(toB + k);
                    inputs = Vector256.MultiplyAddEstimate(gradient, Vector256.Create(bs[n]), inputs);
                    gradient *= Vector256.Load(decay + k);
                    var exponent = gradient * middle;
                    exponents = Vector256.MultiplyAddEstimate(exponent, rate, exponents);
                    dRate = Vector256.MultiplyAddEstimate(exponent, step, dRate);

                    gradient = Vector256.MultiplyAddEstimate(out2, Vector256.Create(cs[n - between]), gradient);
                    Vector256.MultiplyAddEstimate(out2, middle, Vector256.Load(toC - row + k)).Store(toC - row + k);
                    Vector256.MultiplyAddEstimate(gradient, added2, Vector256.Load(toB - row + k)).Store(toB - row + k);
                    inputs2 = Vector256.MultiplyAddEstimate(gradient, Vector256.Create(bs[n - between]), inputs2);
                    gradient *= Vector256.Load(decay - row + k);
                    exponent = gradient * Vector256.Load(earlier + k);
                    exponents2 = Vector256.MultiplyAddEstimate(exponent, rate, exponents2);
                    Vector256.MultiplyAddEstimate(exponent, step2, dRate).Store(dRates + k);
                    gradient.Store(g + k);
                }
                inputs2.Store(dInput + at);
                (exponents2 * Vector256.Create(1 / VectorMath.Log2E)).Store(dDts + at);
                at += wide;
                i--;
            }
            else
            {
                for (int n = 0, k = 0; n < count; n++, k += Lanes)
                {
                    var gradient = Vector256.MultiplyAddEstimate(out1, Vector256.Create(cs[n]), Vector256.Load(g + k));
                    Vector256.MultiplyAddEstimate(out1, Vector256.Load(now + k), Vector256.Load(toC + k)).Store(toC + k);
                    Vector256.MultiplyAddEstimate(gradient, added, Vector256.Load(toB + k)).Store(toB + k);
                    inputs = Vector256.MultiplyAddEstimate(gradient, Vector256.Create(bs[n]), inputs);
                    gradient *= Vector256.Load(decay + k);
                    var exponent = gradient * Vector256.Load(before + k);
                    exponents = Vector256.MultiplyAddEstimate(exponent, Vector256.Load(rates + k), exponents);
                    Vector256.MultiplyAddEstimate(exponent, step, Vector256.Load(dRates + k)).Store(dRates + k);
                    gradient.Store(g + k);
                }
            }
            inputs.Store(dInput + at);
            (exponents * Vector256.Create(1 / VectorMath.Log2E)).Store(dDts + at);
            if (first) new Span<float>(g, row).Clear();
        }
    }

    // gradients of x, of the raw time steps, and of D and the bias
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    void InputGradients<TWidth>(in WorkItem item, long from, int tokens, int first, int end, Targets to, float* dy, float* dInput, float* dDts,
        float* sums) where TWidth : struct, IVectorWidth
    {
        long target = ((item.Row * length + from) * channels + item.First) * TElement.Size, between = channels * TElement.Size;
        byte* dx = to.X + target, dDt = to.Dt + target;
        float* raw = item.Raw, dt = item.Dt, skips = item.D;
        int count = item.Count, wide = block;
        bool positive = softplus;
        for (int i = 0; i < tokens; i++, dx += between, dDt += between, raw += wide, dt += wide, dy += wide, dInput += wide, dDts += wide)
            for (int c = first * Lanes; c < end * Lanes; c += Lanes)
            {
                var (gradient, input, value, size) =
                    (Vector256.Load(dy + c), Vector256.Load(dInput + c), Vector256.Load(raw + c), Vector256.Load(dt + c));
                TWidth.Store<TElement>(dx, c, count, Vector256.MultiplyAddEstimate(size, input, Vector256.Load(skips + c) * gradient));
                var along = Vector256.MultiplyAddEstimate(value, input, Vector256.Load(dDts + c));
                if (positive) along *= VectorMath.SoftplusSlope(size);
                TWidth.Store<TElement>(dDt, c, count, along);
                Vector256.MultiplyAddEstimate(gradient, value, Vector256.Load(sums + c)).Store(sums + c);
                (Vector256.Load(sums + wide + c) + along).Store(sums + wide + c);
            }
    }
}
