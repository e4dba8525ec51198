using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Performs one call of the causal convolution.
/// <para>
/// The operator is memory-bound: forward reads x and writes y once; backward reads x and dy and writes dx once. The outer loop is over time and the
/// inner loop over channels, so memory is streamed, and the W-1 predecessors of a token are still in the L1 cache. With a few thousand channels, the
/// channels are divided as well. Predecessors in another document, and those before an absent initial state, are read from a row of zeros, so the
/// inner loop has no branches. In the backward pass, a piece of up to 128 tokens keeps its pre-activation gradients (float32, and those of the next
/// W-1 tokens) in the L2 cache.
/// </para>
/// </summary>
sealed unsafe class CausalConvolutionTask<TElement> where TElement : struct, IElement
{
    const int PieceTokens = 128, PieceChannels = 512, MaxParts = 32;

    readonly Tensor?[] roots;           // keeps the memory of the pointers alive
    readonly byte* x, initial;
    readonly float* weights;            // (W + 1, padded channels): the filter weights, oldest first, then the bias
    readonly bool* starts;
    readonly IReadOnlyList<long>? rowLengths;
    readonly long batch, length, channels, padded, xRow, xTime;
    readonly int width;
    readonly bool silu;

    public CausalConvolutionTask(CausalConvolutionInputs inputs, RowLayout layout)
    {
        (batch, length, channels, width) = (inputs.Batch, inputs.Length, inputs.Channels, (int)inputs.Width);
        padded = (channels + 7) & ~7L;
        (silu, rowLengths) = (inputs.Silu, layout.RowLengths);
        var x = channels > 1 && inputs.X.stride(2) != 1 ? inputs.X.contiguous() : inputs.X;
        var (initial, starts) = (inputs.InitialState?.contiguous(), layout.Starts?.contiguous());
        var table = zeros([width + 1, padded], ScalarType.Float32);
        var taps = table.narrow(0, 0, width).narrow(1, 0, channels);
        taps.copy_(inputs.Weight.t());
        if (inputs.Bias is { } bias) table[width].narrow(0, 0, channels).copy_(bias);
        roots = [x, initial, starts, table];
        this.x = (byte*)TensorMemory.Pointer(x);
        this.initial = initial is null ? null : (byte*)TensorMemory.Pointer(initial);
        this.starts = starts is null ? null : (bool*)TensorMemory.Pointer(starts);
        weights = CpuRows.Pointer(table);
        (xRow, xTime) = (x.stride(0) * TElement.Size, x.stride(1) * TElement.Size);
    }

    long Pieces => (length + PieceTokens - 1) / PieceTokens;

    long ChannelPieces => (channels + PieceChannels - 1) / PieceChannels;

    long Bytes => channels * TElement.Size;

    public void Forward(Tensor output, Tensor final)
    {
        byte* y = (byte*)TensorMemory.Pointer(output), end = (byte*)TensorMemory.Pointer(final);
        CpuTasks.Run(batch * Pieces, batch * length * channels, task => ForwardPiece(task / Pieces, task % Pieces * PieceTokens, y));
        for (long row = 0; row < batch; row++) FinalState(row, end + row * (width - 1) * Bytes);
        GC.KeepAlive((output, final, roots));
    }

    public (Tensor Weight, Tensor Bias) Backward(Tensor dOutput, Tensor? dFinal, Tensor dInput, Tensor? dInitial)
    {
        if (channels > 1 && dOutput.stride(2) != 1) dOutput = dOutput.contiguous();
        dFinal = dFinal?.contiguous();
        long units = batch * Pieces, parts = Math.Min(units, MaxParts);
        var sums = zeros([parts, width + 1, padded], ScalarType.Float32);
        byte* dy = (byte*)TensorMemory.Pointer(dOutput), dx = (byte*)TensorMemory.Pointer(dInput);
        byte* dEnd = dFinal is null ? null : (byte*)TensorMemory.Pointer(dFinal),
            dBegin = dInitial is null ? null : (byte*)TensorMemory.Pointer(dInitial);
        float* dWeights = CpuRows.Pointer(sums);
        var (dRow, dTime) = (dOutput.stride(0) * TElement.Size, dOutput.stride(1) * TElement.Size);
        CpuTasks.Run(parts * ChannelPieces, batch * length * channels, task =>
        {
            var (part, piece) = Math.DivRem(task, ChannelPieces);
            long from = piece * PieceChannels, count = Math.Min(PieceChannels, channels - from);
            using var scratch = new CpuTasks.Scratch((PieceTokens + width) * PieceChannels);
            for (long unit = units * part / parts; unit < units * (part + 1) / parts; unit++)
            {
                long row = unit / Pieces;
                if (width == 4 && (dBegin == null || unit % Pieces > 0))
                    BackwardPiece4(row, unit % Pieces * PieceTokens, from, count, dy + row * dRow, dTime, dEnd, dx,
                        dWeights + part * (width + 1) * padded, scratch.Memory);
                else BackwardPiece(row, unit % Pieces * PieceTokens, from, count, dy + row * dRow, dTime, dEnd, dx, dBegin,
                    dWeights + part * (width + 1) * padded, scratch.Memory);
            }
        });
        GC.KeepAlive((dOutput, dFinal, dInput, dInitial, sums, roots));
        var total = sums.sum(dim: 0).narrow(1, 0, channels);
        return (total.narrow(0, 0, width).t(), total[width]);
    }

    long RowLength(long row) => rowLengths?[(int)row] ?? length;

    // the number of tokens before t that belong to its document, as far as the convolution sees
    int Reach(long row, long t)
    {
        if (starts == null) return width - 1;
        for (int back = 0; back < width - 1; back++)
            if (t - back >= 0 && starts[row * length + t - back]) return back;
        return width - 1;
    }

    // the input of a token, which may be before column 0; null if there is none
    byte* Input(long row, long t)
    {
        if (t >= 0) return x + row * xRow + t * xTime;
        return initial == null ? null : initial + (row * (width - 1) + width - 1 + t) * Bytes;
    }

    void Taps(long row, long t, byte* none, byte** taps)
    {
        int reach = Reach(row, t);
        for (int back = 0; back < width; back++)
        {
            byte* input = back <= reach ? Input(row, t - back) : null;
            taps[width - 1 - back] = input == null ? none : input;
        }
    }

    void ForwardPiece(long row, long from, byte* output)
    {
        long to = Math.Min(from + PieceTokens, length), real = Math.Min(to, RowLength(row));
        using var scratch = new CpuTasks.Scratch(padded);
        byte* none = (byte*)scratch.Memory;
        new Span<float>(none, (int)padded).Clear();
        byte** taps = stackalloc byte*[width];
        for (long t = from; t < real; t++)
        {
            Taps(row, t, none, taps);
            byte* y = output + (row * length + t) * Bytes;
            if (width == 4) ForwardToken4(taps[0], taps[1], taps[2], taps[3], y);
            else ForwardToken(taps, y);
        }
        if (real < to) Unsafe.InitBlockUnaligned(output + (row * length + Math.Max(from, real)) * Bytes, 0,
            checked((uint)((to - Math.Max(from, real)) * Bytes)));
    }

    void ForwardToken4(byte* x0, byte* x1, byte* x2, byte* x3, byte* y)
    {
        long whole = channels & ~7L;
        ForwardToken4<WholeVectors>(x0, x1, x2, x3, y, 0, whole);
        if (whole < channels) ForwardToken4<PartOfVector>(x0, x1, x2, x3, y, whole, channels);
    }

    void ForwardToken4<TWidth>(byte* x0, byte* x1, byte* x2, byte* x3, byte* y, long from, long end) where TWidth : struct, IVectorWidth
    {
        float* w0 = weights + from, w1 = w0 + padded, w2 = w1 + padded, w3 = w2 + padded, bias = w3 + padded;
        bool activated = silu;
        for (long c = from, k = 0; c < end; c += 8, k += 8)
        {
            var sum = Vector256.MultiplyAddEstimate(Vector256.Load(w0 + k), TWidth.Load<TElement>(x0, c, end), Vector256.Load(bias + k));
            sum = Vector256.MultiplyAddEstimate(Vector256.Load(w1 + k), TWidth.Load<TElement>(x1, c, end), sum);
            sum = Vector256.MultiplyAddEstimate(Vector256.Load(w2 + k), TWidth.Load<TElement>(x2, c, end), sum);
            sum = Vector256.MultiplyAddEstimate(Vector256.Load(w3 + k), TWidth.Load<TElement>(x3, c, end), sum);
            if (activated) sum *= VectorMath.Sigmoid(sum);
            TWidth.Store<TElement>(y, c, end, sum);
        }
    }

    void ForwardToken(byte** taps, byte* y)
    {
        for (long c = 0; c < channels; c += 8)
        {
            var sum = Sum(taps, c);
            if (silu) sum *= VectorMath.Sigmoid(sum);
            RowMath.Store<TElement>(y, c, channels, sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    Vector256<float> Sum(byte** taps, long c)
    {
        var sum = Vector256.Load(weights + width * padded + c);
        for (int tap = 0; tap < width; tap++)
            sum = Vector256.MultiplyAddEstimate(Vector256.Load(weights + tap * padded + c), RowMath.Load<TElement>(taps[tap], c, channels), sum);
        return sum;
    }

    // The usual width, with all values of a token and eight channels in registers: sixteen tokens at a time from the end, so that their rows are
    // streamed, and channels outside; the gradients of the last three sums are passed from one group of sixteen to the previous one.
    void BackwardPiece4(long row, long from, long firstChannel, long count, byte* dOutput, long dTime, byte* dFinal, byte* dInput, float* dWeights,
        float* scratch)
    {
        const int Tile = 16;
        long to = Math.Min(from + PieceTokens, length), end = RowLength(row), real = Math.Min(to, end), wholeEnd = firstChannel + (count & ~7L);
        byte* none = (byte*)scratch - firstChannel * TElement.Size;     // a row of zeros, then the gradients of the three sums after the tile
        new Span<float>(scratch, 4 * PieceChannels).Clear();
        byte** taps = stackalloc byte*[4 * (Tile + 3)], kept = stackalloc byte*[Tile + 3];
        float* seen = stackalloc float[3 * (Tile + 3)];
        var tile = new Tile4 { Taps = taps, Kept = kept, Seen = seen, After = scratch + PieceChannels - firstChannel, DWeights = dWeights,
            DTime = dTime };
        // the first tokens of the next piece are repeated for the gradients of their sums
        for (long tileEnd = Math.Min(real + 3, end), tileFrom; tileEnd > from; tileEnd = tileFrom)
        {
            tileFrom = tileEnd > real ? real : Math.Max(from, tileEnd - Tile);
            tile.Tokens = (int)(tileEnd - tileFrom);
            tile.Own = tileFrom < real;
            tile.AllSeen = true;
            tile.DOutput = dOutput + tileFrom * dTime;
            tile.DInput = dInput + (row * length + tileFrom) * Bytes;
            for (int i = 0; i < tile.Tokens; i++)
            {
                Taps(row, tileFrom + i, none, taps + 4 * i);
                kept[i] = tile.Own && dFinal != null ? FinalPlace(row, tileFrom + i, dFinal) : null;
                for (int back = 1; back <= 3; back++)
                {
                    long reader = tileFrom + i + back;
                    bool sees = reader < end && back <= Reach(row, reader);
                    seen[3 * i + back - 1] = sees ? 1 : 0;
                    tile.AllSeen &= sees;
                }
            }
            BackwardTile4<WholeVectors>(tile, firstChannel, wholeEnd);
            if ((count & 7) != 0) BackwardTile4<PartOfVector>(tile, wholeEnd, firstChannel + count);
        }
        for (long t = Math.Max(from, real); t < to; t++)
            Unsafe.InitBlockUnaligned(dInput + (row * length + t) * Bytes + firstChannel * TElement.Size, 0, (uint)(count * TElement.Size));
    }

    // consecutive tokens: their filter weights, their positions in the gradient of a final state, and whether the tokens 1, 2 and 3 later see them (1
    // or 0)
    ref struct Tile4
    {
        public byte** Taps, Kept;
        public float* Seen, After, DWeights;
        public byte* DOutput, DInput;
        public long DTime;
        public int Tokens;
        public bool Own, AllSeen;       // Own is false if only the gradients for other tokens are needed; AllSeen is false if Seen must be checked
    }

    void BackwardTile4<TWidth>(in Tile4 tile, long from, long end) where TWidth : struct, IVectorWidth
    {
        long between = padded, time = tile.DTime, bytes = Bytes;
        var (own, allSeen, activated, tokens) = (tile.Own, tile.AllSeen, silu, tile.Tokens);
        byte* dy = tile.DOutput, dx = tile.DInput;
        for (long c = from; c < end; c += 8)
        {
            float* w = weights + c, dw = tile.DWeights + c, after = tile.After + c;
            var (w0, w1, w2, w3, bias) = (Vector256.Load(w), Vector256.Load(w + between), Vector256.Load(w + 2 * between),
                Vector256.Load(w + 3 * between), Vector256.Load(w + 4 * between));
            Vector256<float> d0 = default, d1 = default, d2 = default, d3 = default, db = default;
            var (g1, g2, g3) = (Vector256.Load(after), Vector256.Load(after + PieceChannels), Vector256.Load(after + 2 * PieceChannels));
            for (int i = tokens - 1; i >= 0; i--)
            {
                byte** tap = tile.Taps + 4 * i;
                var (x0, x1) = (TWidth.Load<TElement>(tap[0], c, end), TWidth.Load<TElement>(tap[1], c, end));
                var (x2, x3) = (TWidth.Load<TElement>(tap[2], c, end), TWidth.Load<TElement>(tap[3], c, end));
                var g = TWidth.Load<TElement>(dy + i * time, c, end);
                if (activated)
                {
                    var sum = Vector256.MultiplyAddEstimate(w0, x0, bias);
                    sum = Vector256.MultiplyAddEstimate(w1, x1, sum);
                    sum = Vector256.MultiplyAddEstimate(w2, x2, sum);
                    sum = Vector256.MultiplyAddEstimate(w3, x3, sum);
                    g *= VectorMath.SiluSlope(sum, VectorMath.Sigmoid(sum));
                }
                if (own)
                {
                    d0 = Vector256.MultiplyAddEstimate(g, x0, d0);
                    d1 = Vector256.MultiplyAddEstimate(g, x1, d1);
                    d2 = Vector256.MultiplyAddEstimate(g, x2, d2);
                    d3 = Vector256.MultiplyAddEstimate(g, x3, d3);
                    db += g;
                    var gradient = w3 * g;
                    if (allSeen)
                    {
                        gradient = Vector256.MultiplyAddEstimate(w2, g1, gradient);
                        gradient = Vector256.MultiplyAddEstimate(w1, g2, gradient);
                        gradient = Vector256.MultiplyAddEstimate(w0, g3, gradient);
                    }
                    else
                    {
                        float* seen = tile.Seen + 3 * i;
                        gradient = Vector256.MultiplyAddEstimate(w2, g1 * Vector256.Create(seen[0]), gradient);
                        gradient = Vector256.MultiplyAddEstimate(w1, g2 * Vector256.Create(seen[1]), gradient);
                        gradient = Vector256.MultiplyAddEstimate(w0, g3 * Vector256.Create(seen[2]), gradient);
                    }
                    if (tile.Kept[i] != null) gradient += TWidth.Load<TElement>(tile.Kept[i], c, end);
                    TWidth.Store<TElement>(dx + i * bytes, c, end, gradient);
                }
                (g3, g2, g1) = (g2, g1, g);
            }
            g1.Store(after);
            g2.Store(after + PieceChannels);
            g3.Store(after + 2 * PieceChannels);
            if (!own) continue;
            (d0 + Vector256.Load(dw)).Store(dw);
            (d1 + Vector256.Load(dw + between)).Store(dw + between);
            (d2 + Vector256.Load(dw + 2 * between)).Store(dw + 2 * between);
            (d3 + Vector256.Load(dw + 3 * between)).Store(dw + 3 * between);
            (db + Vector256.Load(dw + 4 * between)).Store(dw + 4 * between);
        }
    }

    void BackwardPiece(long row, long from, long firstChannel, long count, byte* dOutput, long dTime, byte* dFinal, byte* dInput, byte* dInitial,
        float* dWeights, float* scratch)
    {
        long to = Math.Min(from + PieceTokens, length), real = Math.Min(to, RowLength(row)), ahead = Math.Min(real + width - 1, RowLength(row));
        long end = firstChannel + count, wide = (count + 7) & ~7L;
        float* none = scratch, dSums = scratch + PieceChannels;      // a row of zeros, then gradients of the sums of tokens from..ahead
        new Span<float>(none, PieceChannels).Clear();
        byte* noInput = (byte*)none - firstChannel * TElement.Size;
        byte** taps = stackalloc byte*[width];
        float** later = stackalloc float*[width];

        for (long t = from; t < ahead; t++)
        {
            Taps(row, t, noInput, taps);
            byte* dy = dOutput + t * dTime;
            float* dSum = dSums + (t - from) * wide;
            bool own = t < real;        // the share of other tokens in the weight gradient belongs to their piece
            for (long c = firstChannel; c < end; c += 8)
            {
                var gradient = RowMath.Load<TElement>(dy, c, channels);
                if (silu)
                {
                    var sum = Sum(taps, c);
                    gradient *= VectorMath.SiluSlope(sum, VectorMath.Sigmoid(sum));
                }
                gradient.Store(dSum + c - firstChannel);
                if (!own) continue;
                float* dw = dWeights + c;
                for (int tap = 0; tap < width; tap++, dw += padded)
                    Vector256.MultiplyAddEstimate(gradient, RowMath.Load<TElement>(taps[tap], c, channels), Vector256.Load(dw)).Store(dw);
                (Vector256.Load(dw) + gradient).Store(dw);
            }
        }
        // token t is the filter position `back` steps before token t + back; the initial state is before column 0
        for (long t = from == 0 && dInitial != null ? 1 - width : from; t < real || t < 0; t++)
        {
            for (int back = 0; back < width; back++)
            {
                long reader = t + back;
                later[back] = reader >= from && reader < ahead && back <= Reach(row, reader) ? dSums + (reader - from) * wide : none;
            }
            byte* kept = dFinal == null ? null : FinalPlace(row, t, dFinal);
            byte* target = t < 0 ? dInitial + (row * (width - 1) + width - 1 + t) * Bytes : dInput + (row * length + t) * Bytes;
            for (long c = firstChannel; c < end; c += 8)
            {
                var gradient = kept == null ? Vector256<float>.Zero : RowMath.Load<TElement>(kept, c, channels);
                for (int back = 0; back < width; back++)
                    gradient = Vector256.MultiplyAddEstimate(Vector256.Load(weights + (width - 1 - back) * padded + c),
                        Vector256.Load(later[back] + c - firstChannel), gradient);
                RowMath.Store<TElement>(target, c, channels, gradient);
            }
        }
        for (long t = Math.Max(from, real); t < to; t++)
            Unsafe.InitBlockUnaligned(dInput + (row * length + t) * Bytes + firstChannel * TElement.Size, 0, (uint)(count * TElement.Size));
    }

    // the position of the input of token t in a (B, W-1, C) final state; null if it is not there
    byte* FinalPlace(long row, long t, byte* final)
    {
        long last = RowLength(row) - 1, slot = t - (last + 1 - (width - 1));
        if (slot < 0 || slot >= width - 1) return null;
        return last - t <= (last < 0 ? width : Reach(row, last)) ? final + (row * (width - 1) + slot) * Bytes : null;
    }

    void FinalState(long row, byte* final)
    {
        long end = RowLength(row);
        int reach = end == 0 ? width : Reach(row, end - 1);
        for (int slot = 0; slot < width - 1; slot++)     // oldest first, so that a state can be shifted in place
        {
            long t = end - (width - 1) + slot;
            byte* input = end - 1 - t <= reach ? Input(row, t) : null;
            byte* target = final + slot * Bytes;
            if (input == null) Unsafe.InitBlockUnaligned(target, 0, (uint)Bytes);
            else if (input != target) Buffer.MemoryCopy(input, target, Bytes, Bytes);
        }
    }
}
