using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu.StateSpace;

/// <summary>
/// Implements the arithmetic of the state-space dual over one tile of at most Q tokens, in working memory that fits into the L2 cache of a core.
/// <para>
/// With u[j] = dt[j] x[j], s[i] = the sum of dt a over the tile up to token i, and S the state before the tile (stored as states x head size):
/// <c>y[i] = sum over j up to i of (c[i]·b[j]) exp(s[i] - s[j]) u[j] + exp(s[i]) c[i]·S</c> and <c>S' = exp(s[last]) S + sum over j of exp(s[last] -
/// s[j]) b[j] u[j]^T</c> (arXiv 2405.21060, section 6), all as products of small matrices. Tokens of other documents are omitted from both. s is
/// summed in double and stored as two floats, so that differences of large sums are exact. Rows and columns are padded with zeros to multiples of
/// eight.
/// </para>
/// </summary>
sealed unsafe class StateSpaceDualTile(int tile, int paddedHead, int paddedState)
{
    readonly int Q = (tile + 7) & ~7, P = paddedHead, N = paddedState;
    int rows, padded;               // the number of tokens of this tile, and that number rounded up to a multiple of eight
    int carried;                    // the number of tokens that belong to the document of the state
    float carry;                    // the decay of the state over the tile
    bool oneDocument;

    float* transposed, affinity, mixing, weighted;              // (N, Q), (Q, Q), (Q, Q), (Q, P)
    float* dt, high, low, inflow, outflow, slope;               // (Q) each
    int* first;                                                 // (Q): the first token of the document of each token
    float* scores, dAffinity, wide, turned, stateTurned;        // backward: (Q, Q), (Q, Q), (Q, N), (P, Q), (P, N)
    float* dAfterTurned, dDt;                                   // (P, N), (Q)
    double* dSum;                                               // (Q)

    /// <summary>Contains b and c (Q, N), x and y (Q, P) of the tile. In the backward pass, Y is the gradient of the output.</summary>
    public float* B, C, X, Y;

    /// <summary>Contains the gradients of x (Q, P), b and c (Q, N).</summary>
    public float* DX, DB, DC;

    public long ForwardFloats => 3L * Q * N + 2L * Q * Q + 3L * Q * P + (long)P * N + 7 * Q;

    public long BackwardFloats => ForwardFloats + 2L * Q * Q + 3L * Q * N + 2L * Q * P + (long)P * N + 3 * Q;

    /// <summary>Assigns memory to the arrays and returns the memory after them.</summary>
    public float* PlaceForward(float* memory)
    {
        float* Take(long count) { float* taken = memory; memory += count; return taken; }
        B = Take((long)Q * N); C = Take((long)Q * N); transposed = Take((long)Q * N);
        affinity = Take((long)Q * Q); mixing = Take((long)Q * Q);
        X = Take((long)Q * P); Y = Take((long)Q * P); weighted = Take((long)Q * P);
        stateTurned = Take((long)P * N);
        dt = Take(Q); high = Take(Q); low = Take(Q); inflow = Take(Q); outflow = Take(Q); slope = Take(Q);
        first = (int*)Take(Q);
        return memory;
    }

    /// <summary>Assigns memory to the arrays of the backward pass and returns the memory after them.</summary>
    public float* PlaceBackward(float* memory)
    {
        memory = PlaceForward(memory);
        float* Take(long count) { float* taken = memory; memory += count; return taken; }
        scores = Take((long)Q * Q); dAffinity = Take((long)Q * Q);
        wide = Take((long)Q * N); DB = Take((long)Q * N); DC = Take((long)Q * N);
        turned = Take((long)Q * P); DX = Take((long)Q * P);
        dAfterTurned = Take((long)P * N);
        dSum = (double*)Take(2 * Q);
        dDt = Take(Q);
        return memory;
    }

    public void Begin(int tokens)
    {
        rows = tokens;
        padded = (tokens + 7) & ~7;
    }

    /// <summary>Finds where documents begin. Null means that none begins in the tile.</summary>
    public void FindDocuments(bool* starts)
    {
        oneDocument = true;
        carried = rows;
        int begin = 0;
        for (int i = 0; i < rows; i++)
        {
            if (starts != null && starts[i])
            {
                begin = i;
                carried = Math.Min(carried, i);
                oneDocument = false;
            }
            first[i] = begin;
        }
    }

    public void LoadRows(float* from, long stride, int columns, int paddedColumns, float* to)
    {
        for (int i = 0; i < rows; i++)
        {
            float* row = to + (nint)i * paddedColumns;
            Unsafe.CopyBlockUnaligned(row, from + i * stride, (uint)columns * sizeof(float));
            for (int j = columns; j < paddedColumns; j++) row[j] = 0;
        }
        new Span<float>(to + (nint)rows * paddedColumns, (padded - rows) * paddedColumns).Clear();
    }

    public void StoreRows(float* from, int paddedColumns, int columns, float* to, long stride)
    {
        for (int i = 0; i < rows; i++) Unsafe.CopyBlockUnaligned(to + i * stride, from + (nint)i * paddedColumns, (uint)columns * sizeof(float));
    }

    /// <summary>Converts a state (head size, states) to its padded form (states, head size). Null means zero.</summary>
    public void LoadState(float* from, int headSize, int stateSize, float* to)
    {
        if (from == null)
        {
            new Span<float>(to, N * P).Clear();
            return;
        }
        new Span<float>(stateTurned, N * P).Clear();
        for (int p = 0; p < headSize; p++)
            Unsafe.CopyBlockUnaligned(stateTurned + (nint)p * N, from + (nint)p * stateSize, (uint)stateSize * sizeof(float));
        SmallMatrix.Transpose(P, N, stateTurned, N, to, P);
    }

    public void StoreState(float* from, float* to, int headSize, int stateSize)
    {
        SmallMatrix.Transpose(N, P, from, P, stateTurned, N);
        for (int p = 0; p < headSize; p++)
            Unsafe.CopyBlockUnaligned(to + (nint)p * stateSize, stateTurned + (nint)p * N, (uint)stateSize * sizeof(float));
    }

    /// <summary>Computes c[i]·b[j] for j up to the end of the block of eight that contains i.</summary>
    public void Affinities()
    {
        SmallMatrix.Transpose(padded, N, B, N, transposed, Q);
        for (int i = 0; i < padded; i += 8)
            SmallMatrix.Product(8, i + 8, N, C + (nint)i * N, N, transposed, Q, affinity + (nint)i * Q, Q, false);
    }

    /// <summary>Computes the time steps and decays of one head.</summary>
    public void Steps(float* raw, long stride, float bias, bool softplus, (double Minimum, double Maximum)? limit, float rate)
    {
        for (int i = 0; i < rows; i++) dt[i] = raw[i * stride] + bias;
        for (int i = rows; i < padded; i++) dt[i] = 0;
        for (int i = 0; i < padded; i += 8)
        {
            var value = Vector256.Load(dt + i);
            var factor = Vector256<float>.One;
            if (softplus) (value, factor) = (VectorMath.Softplus(value), VectorMath.Sigmoid(value));
            if (limit is { } range)
            {
                var (minimum, maximum) = (Vector256.Create((float)range.Minimum), Vector256.Create((float)range.Maximum));
                factor &= Vector256.GreaterThanOrEqual(value, minimum) & Vector256.LessThanOrEqual(value, maximum);
                value = Vector256.Min(Vector256.Max(value, minimum), maximum);
            }
            value.Store(dt + i);
            factor.Store(slope + i);
        }
        double sum = 0;
        for (int i = 0; i < padded; i++)
        {
            if (i >= rows) dt[i] = slope[i] = 0;
            sum += (double)dt[i] * rate;
            high[i] = (float)sum;
            low[i] = (float)(sum - high[i]);
        }
        int last = rows - 1, from = first[last];
        var (lastHigh, lastLow) = (Vector256.Create(high[last]), Vector256.Create(low[last]));
        for (int i = 0; i < padded; i += 8)
        {
            var (h, l) = (Vector256.Load(high + i), Vector256.Load(low + i));
            VectorMath.Exp(h + l).Store(inflow + i);
            VectorMath.Exp((lastHigh - h) + (lastLow - l)).Store(outflow + i);
        }
        carry = carried == rows ? inflow[last] : 0;
        for (int i = carried; i < padded; i++) inflow[i] = 0;
        for (int i = 0; i < from; i++) outflow[i] = 0;
        for (int i = rows; i < padded; i++) outflow[i] = 0;
    }

    /// <summary>Computes the outputs of one head into Y.</summary>
    public void Outputs(float* state, bool hasState, float skip)
    {
        for (int i = 0; i < rows; i++)
        {
            float* to = mixing + (nint)i * Q;
            int from = first[i] & ~7, j = 0;
            for (; j < from; j += 8) Vector256<float>.Zero.Store(to + j);
            for (; j <= i; j += 8)
                (Decay(i, j) * Vector256.Load(affinity + (nint)i * Q + j) * Vector256.Load(dt + j)).Store(to + j);
        }
        for (int i = rows; i < padded; i++) new Span<float>(mixing + (nint)i * Q, padded).Clear();
        if (hasState)
        {
            SmallMatrix.Product(padded, P, N, C, N, state, P, Y, P, false);
            for (int i = 0; i < padded; i++) Scale(Y + (nint)i * P, inflow[i], P);
        }
        for (int i = 0; i < padded; i += 8)
            SmallMatrix.Product(8, P, i + 8, mixing + (nint)i * Q, Q, X, P, Y + (nint)i * P, P, hasState);
        if (skip == 0) return;
        var weight = Vector256.Create(skip);
        for (int i = 0; i < rows * P; i += 8) Vector256.MultiplyAddEstimate(weight, Vector256.Load(X + i), Vector256.Load(Y + i)).Store(Y + i);
    }

    /// <summary>Advances the state of one head to the end of the tile.</summary>
    public void Advance(float* state, bool hasState)
    {
        for (int j = 0; j < padded; j++) ScaleTo(X + (nint)j * P, outflow[j] * dt[j], weighted + (nint)j * P, P);
        if (hasState) Scale(state, carry, N * P);
        SmallMatrix.Product(N, P, padded, transposed, Q, weighted, P, state, P, hasState);
    }

    public void ClearGroupGradients()
    {
        new Span<float>(DB, padded * N).Clear();
        new Span<float>(DC, padded * N).Clear();
        new Span<float>(dAffinity, padded * Q).Clear();
    }

    /// <summary>
    /// Computes the gradients of one head: DX, the time steps, its share of b and c, and the state, which moves to the start of the tile.
    /// </summary>
    /// <param name="state">The state before the tile.</param>
    /// <param name="hasState">Whether it may differ from zero.</param>
    /// <param name="dState">The gradient of the state after the tile. It becomes that of the state before the tile.</param>
    /// <param name="hasAfter">Whether it may differ from zero.</param>
    /// <param name="rate">The a of the head.</param>
    /// <param name="skip">The skip weight of the head.</param>
    /// <param name="totals">The gradients of a, skip and bias, which are incremented.</param>
    /// <param name="dStep">Receives the gradients of the time steps.</param>
    /// <param name="stride">The distance between them.</param>
    public void Gradients(float* state, bool hasState, float* dState, bool hasAfter, float rate, float skip, double* totals, float* dStep,
        long stride)
    {
        SmallMatrix.Transpose(padded, P, X, P, turned, Q);
        for (int i = 0; i < padded; i += 8)
            SmallMatrix.Product(8, i + 8, P, Y + (nint)i * P, P, turned, Q, scores + (nint)i * Q, Q, false);
        MixingGradients();

        // x, through the later outputs and through the state after the tile
        double afterSum = 0;
        if (hasAfter)
        {
            SmallMatrix.Product(padded, P, N, B, N, dState, P, DX, P, false);
            for (int j = 0; j < rows; j++)
            {
                float along = Dot(DX + (nint)j * P, X + (nint)j * P, P), weight = outflow[j] * dt[j];
                Scale(DX + (nint)j * P, weight, P);
                dDt[j] += along * outflow[j];
                dSum[j] -= (double)along * weight;
                afterSum += (double)along * weight;
            }
        }
        for (int j = 0; j < padded; j += 8)
            SmallMatrix.TransposedProduct(8, P, padded - j, mixing + (nint)j * Q + j, Q, Y + (nint)j * P, P, DX + (nint)j * P, P, hasAfter);
        totals[1] += Dot(X, Y, rows * P);
        if (skip != 0)
        {
            var weight = Vector256.Create(skip);
            for (int i = 0; i < rows * P; i += 8) Vector256.MultiplyAddEstimate(weight, Vector256.Load(Y + i), Vector256.Load(DX + i)).Store(DX + i);
        }

        // b, through the state after the tile
        if (hasAfter)
        {
            for (int j = 0; j < padded; j++) ScaleTo(X + (nint)j * P, outflow[j] * dt[j], weighted + (nint)j * P, P);
            SmallMatrix.Transpose(N, P, dState, P, dAfterTurned, N);
            SmallMatrix.Product(padded, N, P, weighted, P, dAfterTurned, N, DB, N, true);
        }
        // c and the state before the tile
        if (hasState)
        {
            if (hasAfter) afterSum += (double)carry * Dot(state, dState, N * P);
            for (int i = 0; i < padded; i++) ScaleTo(Y + (nint)i * P, inflow[i], weighted + (nint)i * P, P);
            SmallMatrix.Transpose(N, P, state, P, stateTurned, N);
            SmallMatrix.Product(padded, N, P, weighted, P, stateTurned, N, wide, N, false);
            for (int i = 0; i < carried; i++)
            {
                dSum[i] += Dot(wide + (nint)i * N, C + (nint)i * N, N);
                Add(DC + (nint)i * N, wide + (nint)i * N, N);
            }
            if (hasAfter) Scale(dState, carry, N * P);
            SmallMatrix.TransposedProduct(N, P, padded, C, N, weighted, P, dState, P, hasAfter);
        }

        // time steps and a: s[i] is a sum of dt a, so its gradient is summed from the end
        dSum[rows - 1] += afterSum;
        double behind = 0;
        for (int i = rows - 1; i >= 0; i--)
        {
            behind += dSum[i];
            totals[0] += behind * dt[i];
            float gradient = (float)(dDt[i] + behind * rate) * slope[i];
            totals[2] += gradient;
            dStep[i * stride] = gradient;
        }
    }

    /// <summary>Computes the share of the gradients of b and c that all heads of the group have in common.</summary>
    public void GroupGradients()
    {
        for (int i = 0; i < padded; i += 8)
        {
            SmallMatrix.Product(8, N, i + 8, dAffinity + (nint)i * Q, Q, B, N, DC + (nint)i * N, N, true);
            SmallMatrix.TransposedProduct(8, N, padded - i, dAffinity + (nint)i * Q + i, Q, C + (nint)i * N, N, DB + (nint)i * N, N, true);
        }
    }

    // from the scores dy[i]·x[j]: the mixing matrix again, the gradient of the affinities, and the beginning of those of dt and the sums. A pair (i,
    // j) adds a number to the gradient of s[i] and subtracts it from that of s[j]. For all tokens before both, this must cancel regardless of dt,
    // which is why doubles are used.
    void MixingGradients()
    {
        new Span<float>(dDt, padded).Clear();
        new Span<double>(dSum, padded).Clear();
        for (int i = 0; i < rows; i++)
        {
            float* to = mixing + (nint)i * Q;
            int from = first[i] & ~7, j = 0;
            for (; j < from; j += 8) Vector256<float>.Zero.Store(to + j);
            Vector256<double> total = default;
            for (; j <= i; j += 8)
            {
                var (decay, step, score) = (Decay(i, j), Vector256.Load(dt + j), Vector256.Load(scores + (nint)i * Q + j));
                var mixed = decay * Vector256.Load(affinity + (nint)i * Q + j);
                (mixed * step).Store(to + j);
                float* dTo = dAffinity + (nint)i * Q + j;
                Vector256.MultiplyAddEstimate(score * decay, step, Vector256.Load(dTo)).Store(dTo);
                var along = score * mixed;
                (Vector256.Load(dDt + j) + along).Store(dDt + j);
                along *= step;
                // s[i] - s[i] is 0
                if (j + 7 >= i) along &= Vector256.LessThan(Vector256.Create(j) + Vector256<int>.Indices, Vector256.Create(i)).AsSingle();
                var (lower, upper) = Vector256.Widen(along);
                (Vector256.Load(dSum + j) - lower).Store(dSum + j);
                (Vector256.Load(dSum + j + 4) - upper).Store(dSum + j + 4);
                total += lower + upper;
            }
            dSum[i] += Vector256.Sum(total);
        }
        for (int i = rows; i < padded; i++) new Span<float>(mixing + (nint)i * Q, padded).Clear();
    }

    // exp(s[i] - s[j]) for eight j; 0 for later tokens and other documents, whose exponents are cleared first, because they could be large
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    Vector256<float> Decay(int i, int j)
    {
        var difference = (Vector256.Create(high[i]) - Vector256.Load(high + j)) + (Vector256.Create(low[i]) - Vector256.Load(low + j));
        if (oneDocument && j + 7 <= i) return VectorMath.Exp(difference);
        var column = Vector256.Create(j) + Vector256<int>.Indices;
        var mask = (Vector256.GreaterThanOrEqual(column, Vector256.Create(first[i])) & Vector256.LessThanOrEqual(column, Vector256.Create(i)))
            .AsSingle();
        return VectorMath.Exp(difference & mask) & mask;
    }

    static void Scale(float* values, float factor, int count) => ScaleTo(values, factor, values, count);

    static void ScaleTo(float* from, float factor, float* to, int count)
    {
        var vector = Vector256.Create(factor);
        for (int i = 0; i < count; i += 8) (Vector256.Load(from + i) * vector).Store(to + i);
    }

    static void Add(float* to, float* from, int count)
    {
        for (int i = 0; i < count; i += 8) (Vector256.Load(to + i) + Vector256.Load(from + i)).Store(to + i);
    }

    static float Dot(float* a, float* b, int count)
    {
        Vector256<float> even = default, odd = default;
        int i = 0;
        for (; i + 16 <= count; i += 16)
        {
            even = Vector256.MultiplyAddEstimate(Vector256.Load(a + i), Vector256.Load(b + i), even);
            odd = Vector256.MultiplyAddEstimate(Vector256.Load(a + i + 8), Vector256.Load(b + i + 8), odd);
        }
        if (i < count) even = Vector256.MultiplyAddEstimate(Vector256.Load(a + i), Vector256.Load(b + i), even);
        return Vector256.Sum(even + odd);
    }

    /// <summary>Computes one time step from a raw, biased one.</summary>
    public static float TimeStep(float raw, bool softplus, (double Minimum, double Maximum)? limit)
    {
        if (softplus) raw = VectorMath.Softplus(Vector256.Create(raw)).ToScalar();
        return limit is { } range ? MathF.Min(MathF.Max(raw, (float)range.Minimum), (float)range.Maximum) : raw;
    }

    /// <summary>
    /// Processes one token and head over a state (head size, states) in memory. It is read and written once, four rows at a time, so that no sum
    /// waits for another.
    /// </summary>
    public static void Step(float* state, float* x, float dt, float decay, float* b, float* c, float skip, float* y, int headSize, int stateSize)
    {
        int p = 0;
        for (; p + 4 <= headSize; p += 4) FourRows(state + (long)p * stateSize, x + p, dt, decay, b, c, skip, y + p, stateSize);
        for (; p < headSize; p++)
        {
            float* row = state + (long)p * stateSize;
            float input = dt * x[p], sum = 0;
            for (int n = 0; n < stateSize; n++) sum += (row[n] = decay * row[n] + input * b[n]) * c[n];
            y[p] = sum + skip * x[p];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void FourRows(float* state, float* x, float dt, float decay, float* b, float* c, float skip, float* y, int stateSize)
    {
        float* s1 = state + stateSize, s2 = s1 + stateSize, s3 = s2 + stateSize;
        float f0 = dt * x[0], f1 = dt * x[1], f2 = dt * x[2], f3 = dt * x[3];
        var decays = Vector256.Create(decay);
        Vector256<float> i0 = Vector256.Create(f0), i1 = Vector256.Create(f1), i2 = Vector256.Create(f2), i3 = Vector256.Create(f3);
        Vector256<float> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        int n = 0;
        for (; n + 8 <= stateSize; n += 8)
        {
            var (key, query) = (Vector256.Load(b + n), Vector256.Load(c + n));
            var v0 = Vector256.MultiplyAddEstimate(decays, Vector256.Load(state + n), i0 * key);
            var v1 = Vector256.MultiplyAddEstimate(decays, Vector256.Load(s1 + n), i1 * key);
            var v2 = Vector256.MultiplyAddEstimate(decays, Vector256.Load(s2 + n), i2 * key);
            var v3 = Vector256.MultiplyAddEstimate(decays, Vector256.Load(s3 + n), i3 * key);
            v0.Store(state + n);
            v1.Store(s1 + n);
            v2.Store(s2 + n);
            v3.Store(s3 + n);
            sum0 = Vector256.MultiplyAddEstimate(v0, query, sum0);
            sum1 = Vector256.MultiplyAddEstimate(v1, query, sum1);
            sum2 = Vector256.MultiplyAddEstimate(v2, query, sum2);
            sum3 = Vector256.MultiplyAddEstimate(v3, query, sum3);
        }
        float t0 = Vector256.Sum(sum0), t1 = Vector256.Sum(sum1), t2 = Vector256.Sum(sum2), t3 = Vector256.Sum(sum3);
        for (; n < stateSize; n++)
        {
            t0 += (state[n] = decay * state[n] + f0 * b[n]) * c[n];
            t1 += (s1[n] = decay * s1[n] + f1 * b[n]) * c[n];
            t2 += (s2[n] = decay * s2[n] + f2 * b[n]) * c[n];
            t3 += (s3[n] = decay * s3[n] + f3 * b[n]) * c[n];
        }
        y[0] = t0 + skip * x[0];
        y[1] = t1 + skip * x[1];
        y[2] = t2 + skip * x[2];
        y[3] = t3 + skip * x[3];
    }
}
