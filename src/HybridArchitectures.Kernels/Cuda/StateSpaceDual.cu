// The state-space dual of Mamba-2: S[t] = exp(delta[t] a) S[t-1] + delta[t] x[t] b[t]^T, y[t] = S[t] c[t] + skip x[t], and its gradients, on tensor cores.
//
// Tokens are cut into chunks of Q. With cum[t] the sum of delta a log2(e) from a chunk's start, and S the state before the chunk,
//   y[i] = 2^cum[i] S c[i] + sum over j <= i of 2^(cum[i] - cum[j]) delta[j] (c[i].b[j]) x[j] + skip x[i],   S' = 2^cum[Q-1] S + sum of 2^(cum[Q-1] - cum[j]) delta[j] x[j] b[j]^T.
// Only differences that are at most 0 are raised.
//
// walk: a block owns up to 128 channels of one row (2 heads of 64, 1 of 128) and walks the chunks in order. The state stands in registers as float32 sums, 32 channels
// x N a warp; as an A operand it is rounded in place. One c b^T of the chunk serves all heads of the block. Tokens of the next chunk are copied meanwhile.
// The gradient of x is the same walk from the end, with dy for x and b and c in each other's place. Where rows and heads are too few for the card, rows are cut into
// segments: one walk for each segment's own state, `combine` over the segments, and the main walk with what comes in.
// pairs: gradients of b, c and the time steps. A block owns one chunk of one group and goes through the heads: dy x^T, dy S and x dS, S and dS being what the walks
// in both directions left for each chunk. Gradients of b and c stay in registers over all heads; the part within the chunk is (sum over heads) x (Q x N) once.
// steps, step_gradients: delta and cum before, and what they lead back to after.
//
// Float32 is cut into three bfloat16 planes, and the six products that matter are summed: as exact as float32 and a third of the speed of plain float32 units or better.
// Every sum has one fixed order.
//
// What has to move, B8 L8192 H64 P64 N128 bfloat16: forward x and y, 1.07 GB, 0.25 ms at 4.3 TB/s; 3.2 MFLOP a chunk and head, 0.21 TFLOP, 0.27 ms at 790 TFLOP/s, 0.43 ms
// at the 490 that mma.sync reaches. Backward: x and dy twice, dx, S and dS written and read (16 KB a chunk and head each), 7 GB, 1.6 ms; 0.45 TFLOP, 0.9 ms.
#include "tensor_cores.cuh"

// the host compiles this once for each shape it meets
#ifndef SSD_P
#define SSD_P 64                // channels of a head
#define SSD_N 128               // states
#define SSD_CHUNK 64            // tokens of a chunk, a multiple of 16
#define SSD_HEADS 2             // heads of a walk's block
#define SSD_STAGES 2            // copies of what a walk loads: 2 to load ahead
#define SSD_UNIT 64             // channels that the pairs kernel takes at a time
#define SSD_PAIR_STAGES 2
#define SSD_FLOAT32 0           // or bfloat16
#define SSD_DOCUMENTS 0         // whether documents begin within rows
#endif

constexpr int P = SSD_P, N = SSD_N, Q = SSD_CHUNK, Heads = SSD_HEADS, Stages = SSD_STAGES, Unit = SSD_UNIT, PairStages = SSD_PAIR_STAGES;
constexpr bool Documents = SSD_DOCUMENTS;
#if SSD_FLOAT32
using Element = float;
constexpr int Planes = 3, Vector = 4;
#else
using Element = bfloat16;
constexpr int Planes = 1, Vector = 8;
#endif

constexpr int NPad = (N + 15) / 16 * 16, KSteps = NPad / 16, Blocks = Q / 16;      // Blocks of 16 tokens
constexpr int MTiles = NPad <= 128 ? 2 : 1, Rows = 16 * MTiles;                    // channels of a warp
constexpr int HeadWarps = P > 128 - Rows ? 128 / Rows : (P + Rows - 1) / Rows, Slice = HeadWarps * Rows, Slices = (P + Slice - 1) / Slice;   // channels of a head in one block
constexpr int Warps = Heads * HeadWarps, Threads = 32 * Warps, Channels = Warps * Rows;
constexpr int PairThreads = 256, RowWarps = Blocks < 8 ? Blocks : 8, ColumnWarps = 8 / RowWarps, Units = (P + Unit - 1) / Unit;
constexpr float LeastLogarithm = -128;      // 2^-128 is 0 here

static_assert(Q % 16 == 0 && Q <= 64 && 8 % Blocks == 0 && Unit % 16 == 0, "sizes the kernels are cut for");

struct DualArguments {
    Typed timeStep;
    const void *in, *key, *query, *gradient;          // (batch, length, heads, P), (batch, length, groups, N) twice, like in
    const float *a, *skip, *bias, *incoming, *finalGradient;
    const bool* starts;                               // (batch, length), or null
    const i64* lengths;                               // (batch), or null
    float *delta, *cum, *cumLow;                      // (batch, heads, chunks Q): the steps, their sums and what those lack
    int* begins;                                      // (batch, chunks Q): where in the chunk a token's document begins, -1 before it; or null
    void *out, *states, *backStates;                  // like in; (batch, chunks, heads, P, N) of in's type twice, or null
    float* outgoing;                                  // (batch, heads, P, N), or (batch, segments, heads, P, N)
    float *suffix, *prefix, *direct, *inner, *diagonal;   // (batch, heads, chunks Q) thrice, (batch, chunks, heads) twice: what leads back to the steps
    void *dKey, *dQuery;                              // (splits, batch, length, groups, N) float32, or without splits in in's type
    TypedOutput dTimeStep;                            // (batch, length, heads)
    float *dA, *dBias;                                // (batch, chunks, heads)
    i64 batch, length, heads, groups, chunks, segments, chunksPerSegment, splits, firstRow;
    i64 inRow, inToken, keyRow, keyToken, queryRow, queryToken, gradientRow, gradientToken, stepRow, stepToken;
    i64 wide, softplus, outgoingSegments;
    float minimum, maximum;
};

// ---- operands ----

// tiles in shared memory: planes of rows of Columns + 8 bfloat16, so that eight neighbouring rows lie in different banks
template <int TileRows, int Columns> struct Tile {
    static constexpr int Stride = Columns + 8, Plane = TileRows * Stride, Size = Planes * Plane;
};

struct Left { unsigned words[Planes][4]; };             // a 16 x 16 block
struct Right { unsigned words[Planes][4]; };            // 16 x 16: two neighbouring 16 x 8 blocks

// the block of rows `row` and columns `column` on; with Transposed the tile holds its transpose
template <class T, bool Transposed> __device__ __forceinline__ Left left(const u16* tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    const int at = Transposed ? (column + lane % 8 + lane / 16 * 8) * T::Stride + row + lane / 8 % 2 * 8 : (row + lane % 16) * T::Stride + column + lane / 16 * 8;
    Left result;
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) load_blocks<Transposed>(result.words[plane], tile + plane * T::Plane + at);
    return result;
}

// the block of sums over k and of columns `column` on; the tile holds it row by row with Rowwise, else column by column
template <class T, bool Rowwise> __device__ __forceinline__ Right right(const u16* tile, int k, int column) {
    const int lane = threadIdx.x % 32;
    const int at = Rowwise ? (k + lane % 16) * T::Stride + column + lane / 16 * 8 : (column + lane % 8 + lane / 16 * 8) * T::Stride + k + lane / 8 % 2 * 8;
    Right result;
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) load_blocks<Rowwise>(result.words[plane], tile + plane * T::Plane + at);
    return result;
}

// sums += a b for both halves of b; small products first
__device__ __forceinline__ void add_product(float (&low)[4], float (&high)[4], const Left& a, const Right& b) {
#pragma unroll
    for (int order = 2 * Planes - 2; order >= 0; order--)
#pragma unroll
        for (int i = 0; i < Planes; i++) {
            const int j = order - i;
            if (order >= Planes || j < 0 || j >= Planes) continue;
            multiply_add(low, a.words[i], b.words[j][0], b.words[j][1]);
            multiply_add(high, a.words[i], b.words[j][2], b.words[j][3]);
        }
}

// two float32 as words of the planes
__device__ __forceinline__ void split(float first, float second, unsigned (&words)[Planes]) {
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) {
        words[plane] = round_to_bfloat16_pair(first, second);
        if (plane + 1 < Planes) { first -= first_of(words[plane]); second -= second_of(words[plane]); }
    }
}

// sums of 16 x 16 as a left operand: their layouts agree
__device__ __forceinline__ Left as_left(const float (&low)[4], const float (&high)[4]) {
    Left result;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned words[Planes];
        split(i < 2 ? low[2 * i] : high[2 * i - 4], i < 2 ? low[2 * i + 1] : high[2 * i - 3], words);
#pragma unroll
        for (int plane = 0; plane < Planes; plane++) result.words[plane][i] = words[plane];
    }
    return result;
}

__device__ __forceinline__ Two value(const Left& block, int word) {
    Two result = {0, 0};
#pragma unroll
    for (int plane = Planes - 1; plane >= 0; plane--) { result.x += first_of(block.words[plane][word]); result.y += second_of(block.words[plane][word]); }
    return result;
}

template <class T> __device__ __forceinline__ Two value(const u16* tile, int row, int column) {
    Two result = {0, 0};
#pragma unroll
    for (int plane = Planes - 1; plane >= 0; plane--) {
        const unsigned word = *reinterpret_cast<const unsigned*>(tile + plane * T::Plane + row * T::Stride + column);
        result.x += first_of(word);
        result.y += second_of(word);
    }
    return result;
}

template <class T> __device__ __forceinline__ void put(u16* tile, int row, int column, float first, float second) {
    unsigned words[Planes];
    split(first, second, words);
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) *reinterpret_cast<unsigned*>(tile + plane * T::Plane + row * T::Stride + column) = words[plane];
}

__device__ __forceinline__ Two pair_of(const float* values, int at) { return *reinterpret_cast<const Two*>(values + at); }

// fills TileRows x Columns; where(row, column) is the address of an element, or null where a zero belongs
template <class T, int TileRows, int Columns, int Count, class Where> __device__ __forceinline__ void stage(u16* tile, bool wide, const void* any, Where where) {
    if (wide) {
        constexpr int PerRow = Columns / Vector, All = TileRows * PerRow;
#pragma unroll
        for (int pass = 0; pass < (All + Count - 1) / Count; pass++) {
            const int i = pass * Count + threadIdx.x, row = i / PerRow, column = i % PerRow * Vector;
            if (All % Count && i >= All) continue;
            const Element* from = where(row, column);
#if SSD_FLOAT32
            float values[4] = {0, 0, 0, 0};
            if (from) load<float, 4>(from, 0, values);
            put<T>(tile, row, column, values[0], values[1]);
            put<T>(tile, row, column + 2, values[2], values[3]);
#else
            copy_async<16>(tile + row * T::Stride + column, from ? from : any, from != nullptr);
#endif
        }
    } else {
        for (int i = threadIdx.x; i < TileRows * Columns / 2; i += Count) {
            const int row = i / (Columns / 2), column = i % (Columns / 2) * 2;
            const Element *first = where(row, column), *second = where(row, column + 1);
            put<T>(tile, row, column, first ? to_float(*first) : 0.f, second ? to_float(*second) : 0.f);
        }
    }
}

template <int Length, int Count, class T> __device__ __forceinline__ void stage_numbers(T* to, const T* from) {
    for (int i = threadIdx.x; i < Length / 4; i += Count) copy_async<16>(to + 4 * i, from + 4 * i, true);
}

// ---- time steps ----

// a block: one chunk of one row, 32 heads
__device__ __forceinline__ void steps(const DualArguments& a) {
    DYNAMIC_SHARED(float, shared);                     // delta, cum and what it lacks, (32, Q + 1) each
    constexpr int Line = Q + 1;
    float *delta = shared, *cum = delta + 32 * Line, *low = cum + 32 * Line;
    const i64 headBlocks = (a.heads + 31) / 32, chunk = blockIdx.x / headBlocks, first = blockIdx.x % headBlocks * 32, row = a.firstRow + blockIdx.y, begin = chunk * Q;
    i64 valid = a.length;
    if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i % 32, t = begin + i / 32;
        float step = 0, logarithm = 0;
        if (head < a.heads && t < valid) {
            step = a.timeStep[row * a.stepRow + t * a.stepToken + head] + (a.bias ? a.bias[head] : 0.f);
            if (a.softplus) step = softplus(step);
            step = step < a.minimum ? a.minimum : step > a.maximum ? a.maximum : step;
            logarithm = step * a.a[head] * log2_e;
            logarithm = logarithm < LeastLogarithm ? LeastLogarithm : logarithm;
        }
        delta[i % 32 * Line + i / 32] = step;
        cum[i % 32 * Line + i / 32] = logarithm;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        double sum = 0;
        for (int t = 0; t < Q; t++) {
            sum += cum[threadIdx.x * Line + t];
            cum[threadIdx.x * Line + t] = static_cast<float>(sum);
            low[threadIdx.x * Line + t] = static_cast<float>(sum - static_cast<float>(sum));
        }
    } else if (threadIdx.x == 32 && a.begins && first == 0) {
        int at = -1;
        for (int t = 0; t < Q; t++) {
            if (begin + t < valid && a.starts[row * a.length + begin + t]) at = t;
            a.begins[(row * a.chunks + chunk) * Q + t] = at;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i / Q, to = ((row * a.heads + head) * a.chunks + chunk) * Q + i % Q;
        if (head >= a.heads) continue;
        a.delta[to] = delta[i / Q * Line + i % Q];
        a.cum[to] = cum[i / Q * Line + i % Q];
        a.cumLow[to] = low[i / Q * Line + i % Q];
    }
}

// a block: like steps. The gradient of a decay's logarithm sums what passes it: from tokens at or after it to those before it, in the chunk or beyond.
__device__ __forceinline__ void step_gradients(const DualArguments& a) {
    DYNAMIC_SHARED(float, shared);
    constexpr int Line = Q + 1;
    float *suffix = shared, *prefix = suffix + 32 * Line, *direct = prefix + 32 * Line, *delta = direct + 32 * Line;
    const i64 headBlocks = (a.heads + 31) / 32, chunk = blockIdx.x / headBlocks, first = blockIdx.x % headBlocks * 32, row = a.firstRow + blockIdx.y, begin = chunk * Q;
    i64 valid = a.length;
    if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i / Q, from = ((row * a.heads + head) * a.chunks + chunk) * Q + i % Q;
        const int to = i / Q * Line + i % Q;
        const bool there = head < a.heads && begin + i % Q < valid;
        suffix[to] = there ? a.suffix[from] : 0.f;
        prefix[to] = there ? a.prefix[from] : 0.f;
        direct[to] = there ? a.direct[from] : 0.f;
        delta[to] = there ? a.delta[from] : 0.f;
    }
    __syncthreads();
    if (threadIdx.x < 32 && first + threadIdx.x < a.heads) {
        const i64 head = first + threadIdx.x, to = (row * a.chunks + chunk) * a.heads + head;
        const int line = threadIdx.x * Line;
        const float rate = a.a[head];
        float after = 0, before = begin < valid ? a.inner[to] : 0.f, dA = 0;
        for (int t = Q - 1; t >= 0; t--) { after += suffix[line + t]; suffix[line + t] = after; }
        for (int t = 0; t < Q; t++) {
            const float through = suffix[line + t] + before;
            before += delta[line + t] * prefix[line + t];
            dA += delta[line + t] * through;
            direct[line + t] += prefix[line + t] + rate * through;
        }
        a.dA[to] = dA;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i % 32, t = begin + i / 32;
        if (head >= a.heads || t >= a.length) continue;
        float gradient = 0;
        if (t < valid) {
            const float raw = a.timeStep[row * a.stepRow + t * a.stepToken + head] + (a.bias ? a.bias[head] : 0.f), step = a.softplus ? softplus(raw) : raw;
            if (step >= a.minimum && step <= a.maximum) gradient = direct[i % 32 * Line + i / 32] * (a.softplus ? sigmoid(raw) : 1.f);
        }
        a.dTimeStep.set((row * a.length + t) * a.heads + head, gradient);
        direct[i % 32 * Line + i / 32] = gradient;
    }
    __syncthreads();
    if (threadIdx.x < 32 && first + threadIdx.x < a.heads) {
        float sum = 0;
        for (int t = 0; t < Q && begin + t < a.length; t++) sum += direct[threadIdx.x * Line + t];
        a.dBias[(row * a.chunks + chunk) * a.heads + first + threadIdx.x] = sum;
    }
}

// a block: 256 elements of a head's state in one row. From each segment's own state to the state that comes into it, in place.
template <bool Reverse> __device__ __forceinline__ void combine(const DualArguments& a) {
    DYNAMIC_SHARED(float, decays);                     // (segments)
    constexpr int Parts = (P * N + 255) / 256;
    const i64 head = blockIdx.x / Parts, row = a.firstRow + blockIdx.y, element = blockIdx.x % Parts * 256 + threadIdx.x;
    for (i64 segment = threadIdx.x; segment < a.segments; segment += 256) {
        float sum = 0;
        bool kept = true;
        for (i64 chunk = segment * a.chunksPerSegment; chunk < (segment + 1) * a.chunksPerSegment && chunk < a.chunks; chunk++) {
            sum += a.cum[((row * a.heads + head) * a.chunks + chunk) * Q + Q - 1];
            if constexpr (Documents) kept = kept && a.begins[(row * a.chunks + chunk) * Q + Q - 1] < 0;
        }
        decays[segment] = kept ? exp2_approximate(sum) : 0.f;
    }
    __syncthreads();
    if (element >= P * N) return;
    float state = a.incoming ? a.incoming[(row * a.heads + head) * P * N + element] : 0.f;
    for (i64 i = 0; i < a.segments; i++) {
        const i64 segment = Reverse ? a.segments - 1 - i : i, at = ((row * a.segments + segment) * a.heads + head) * P * N + element;
        const float own = a.outgoing[at];
        a.outgoing[at] = state;
        state = state * decays[segment] + own;
    }
}

// ---- the walk ----

template <bool Reverse, bool Output> struct Walk {
    using In = Tile<Q, Channels>;
    using Key = Tile<Q, NPad>;
    using Square = Tile<Q, Q>;
    static constexpr int Numbers = Heads * Q, Span = Q < 32 ? Q : 32;             // Span: tokens of output at a time

    const DualArguments& a;
    i64 row, group, first, count, offset, valid, segment;                          // the block's heads: first on, count of them; offset: of their channels
    int warp, lane, r, q, own, channel;                                            // own: this warp's head in the block; channel: its first in the head
    u16 *ins, *keys, *queries, *squares;
    float *deltas, *cums, *lows;
    int* begins;

    __device__ __forceinline__ explicit Walk(const DualArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        ins = shared;
        keys = ins + Stages * In::Size;
        queries = keys + Stages * Key::Size;
        squares = queries + (Output ? Key::Size : 0);
        deltas = reinterpret_cast<float*>(squares + (Output ? Heads * Square::Size : 0));
        cums = deltas + Stages * Numbers;
        lows = cums + Stages * Numbers;
        begins = reinterpret_cast<int*>(lows + (Planes > 1 ? Stages * Numbers : 0));
        const i64 perGroup = a.heads / a.groups, headBlocks = (perGroup + Heads - 1) / Heads;
        i64 block = blockIdx.x;
        offset = block % Slices * Slice;
        block /= Slices;
        group = block / headBlocks;
        first = group * perGroup + block % headBlocks * Heads;
        count = (group + 1) * perGroup - first;
        if (count > Heads) count = Heads;
        row = a.firstRow + blockIdx.y;
        segment = blockIdx.z;
        valid = a.length;
        if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
        warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        own = warp / HeadWarps;
        channel = static_cast<int>(offset) + warp % HeadWarps * Rows;
    }

    __device__ __forceinline__ bool holds(int p, int n) const { return own < count && p < P && n < N; }

    // calls back with (tile, register, p, n) of every number of the state that this thread holds and that exists
    template <class Each> __device__ __forceinline__ void each(Each&& action) const {
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < NPad / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int p = channel + 16 * m + r + e / 2 * 8, state = 8 * n + 2 * q + e % 2;
                    if (holds(p, state)) action(m, n, e, p * N + state);
                }
    }

    __device__ __forceinline__ void load_ahead(i64 chunk, int stage_) const {
        const i64 begin = chunk * Q;
        const Element* in = static_cast<const Element*>(a.in) + row * a.inRow + begin * a.inToken + first * P + offset;
        const i64 heads = count, from = offset, left = valid - begin, token = a.inToken, keyToken = a.keyToken;
        stage<In, Q, Channels, Threads>(ins + stage_ * In::Size, a.wide, a.in, [=](int t, int c) -> const Element* {
            const int head = c / Slice, p = c % Slice;
            return t < left && head < heads && from + p < P ? in + t * token + head * P + p : nullptr;
        });
        const Element* key = static_cast<const Element*>(a.key) + row * a.keyRow + begin * keyToken + group * N;
        stage<Key, Q, NPad, Threads>(keys + stage_ * Key::Size, a.wide, a.in, [=](int t, int n) -> const Element* {
            return t < left && n < N ? key + t * keyToken + n : nullptr;
        });
        for (int head = 0; head < Heads; head++) {
            const int to = (stage_ * Heads + head) * Q;
            const i64 at = ((row * a.heads + first + (head < count ? head : 0)) * a.chunks + chunk) * Q;
            stage_numbers<Q, Threads>(deltas + to, a.delta + at);
            stage_numbers<Q, Threads>(cums + to, a.cum + at);
            if constexpr (Planes > 1) stage_numbers<Q, Threads>(lows + to, a.cumLow + at);
        }
        if constexpr (Documents) stage_numbers<Q, Threads>(begins + stage_ * Q, a.begins + (row * a.chunks + chunk) * Q);
    }

    __device__ __forceinline__ void load_query(i64 chunk) const {
        const i64 left = valid - chunk * Q, token = a.queryToken;
        const Element* query = static_cast<const Element*>(a.query) + row * a.queryRow + chunk * Q * token + group * N;
        stage<Key, Q, NPad, Threads>(queries, a.wide, a.in, [=](int t, int n) -> const Element* { return t < left && n < N ? query + t * token + n : nullptr; });
    }

    // 2^(sum up to `to` - sum up to `from`)
    __device__ __forceinline__ static float decay(Two to, Two from) {
        float exponent = to.x - from.x;
        if constexpr (Planes > 1) exponent += to.y - from.y;
        return exp2_approximate(exponent);
    }

    __device__ __forceinline__ Two sum_at(int stage_, int head, int t) const {
        const int at = (stage_ * Heads + head) * Q + t;
        return {cums[at], Planes > 1 ? lows[at] : 0.f};
    }

    // what is left of the state before the chunk, in walking order, at token t; and of token t at the chunk's end
    __device__ __forceinline__ float from_before(int stage_, int t) const { return Reverse ? to_edge(stage_, t) : from_edge(stage_, t); }

    __device__ __forceinline__ float to_after(int stage_, int t) const {
        return Reverse ? from_edge(stage_, t) : to_edge(stage_, t) * deltas[(stage_ * Heads + own) * Q + t];
    }

    __device__ __forceinline__ float from_edge(int stage_, int t) const {
        if (Documents && begins[stage_ * Q + t] >= 0) return 0;
        return decay(sum_at(stage_, own, t), Two{0, 0});
    }

    __device__ __forceinline__ float to_edge(int stage_, int t) const {
        if (Documents && t < begins[stage_ * Q + Q - 1]) return 0;
        return decay(sum_at(stage_, own, Q - 1), sum_at(stage_, own, t));
    }

    // decayed products of all pairs of the chunk's tokens: rows are outputs, columns what they take from
    __device__ __forceinline__ void square(int stage_) const {
        constexpr int Group = Blocks < 2 ? Blocks : 2;
        for (int block = warp; block < Blocks; block += Warps)
            for (int start = 0; start < Blocks; start += Group) {
                if (Reverse ? start + Group <= block : start > block) continue;
                float products[Group][2][4] = {};
#pragma unroll
                for (int k = 0; k < KSteps; k++) {
                    const Left rows = left<Key, false>(queries, 16 * block, 16 * k);
#pragma unroll
                    for (int g = 0; g < Group; g++) add_product(products[g][0], products[g][1], rows, right<Key, false>(keys + stage_ * Key::Size, 16 * k, 16 * (start + g)));
                }
                for (int head = 0; head < Heads; head++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int to = 16 * block + r + 8 * half;
                        const Two sum = sum_at(stage_, head, to);
                        const int begin = Documents ? begins[stage_ * Q + to] : 0;
#pragma unroll
                        for (int g = 0; g < Group; g++)
#pragma unroll
                            for (int n = 0; n < 2; n++) {
                                const int from = 16 * (start + g) + 8 * n + 2 * q;
                                float values[2];
#pragma unroll
                                for (int e = 0; e < 2; e++) {
                                    const int t = from + e;
                                    const bool seen = Reverse ? t >= to && (!Documents || to >= begins[stage_ * Q + t]) : t <= to && t >= begin;
                                    const Two other = sum_at(stage_, head, t);
                                    const float left_ = products[g][n][2 * half + e] * (Reverse ? decay(other, sum) : decay(sum, other) * deltas[(stage_ * Heads + head) * Q + t]);
                                    values[e] = seen ? left_ : 0.f;
                                }
                                put<Square>(squares + head * Square::Size, to, from, values[0], values[1]);
                            }
                    }
            }
    }

    // output of tokens start to start + Span - 1
    __device__ __forceinline__ void output(const float (&state)[MTiles][NPad / 8][4], i64 chunk, int stage_, int start) const {
        constexpr int Wide = Span / 16;
        float sums[MTiles][2 * Wide][4] = {};
        const u16* in = ins + stage_ * In::Size;
#pragma unroll
        for (int k = 0; k < KSteps; k++) {
            Left states[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) states[m] = as_left(state[m][2 * k], state[m][2 * k + 1]);
#pragma unroll
            for (int w = 0; w < Wide; w++) {
                const Right query = right<Key, false>(queries, 16 * k, start + 16 * w);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(sums[m][2 * w], sums[m][2 * w + 1], states[m], query);
            }
        }
#pragma unroll
        for (int n = 0; n < 2 * Wide; n++) {
            const float even = from_before(stage_, start + 8 * n + 2 * q), odd = from_before(stage_, start + 8 * n + 2 * q + 1);
#pragma unroll
            for (int m = 0; m < MTiles; m++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[m][n][e] *= e % 2 ? odd : even;
        }
        const int column = warp * Rows;
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            if (Reverse ? 16 * k < start : 16 * k >= start + Span) continue;
            Left inputs[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) inputs[m] = left<In, true>(in, column + 16 * m, 16 * k);
#pragma unroll
            for (int w = 0; w < Wide; w++) {
                if (Reverse ? 16 * k < start + 16 * w : 16 * k > start + 16 * w) continue;
                const Right weights = right<Square, false>(squares + own * Square::Size, 16 * k, start + 16 * w);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(sums[m][2 * w], sums[m][2 * w + 1], inputs[m], weights);
            }
        }
        const float skip = a.skip && own < count ? a.skip[first + own] : 0.f;
#pragma unroll
        for (int w = 0; w < Wide; w++) {
#pragma unroll
            for (int m = 0; m < MTiles; m++) {
                const Left inputs = left<In, true>(in, column + 16 * m, start + 16 * w);
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    const Two step = Reverse ? pair_of(deltas, (stage_ * Heads + own) * Q + start + 16 * w + 8 * n + 2 * q) : Two{1, 1};
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const Two input = value(inputs, 2 * n + half);
                        float(&sum)[4] = sums[m][2 * w + n];
                        sum[2 * half] = sum[2 * half] * step.x + skip * input.x;
                        sum[2 * half + 1] = sum[2 * half + 1] * step.y + skip * input.y;
                    }
                }
            }
        }
        write(sums, chunk * Q + start);
    }

    template <int Count> __device__ __forceinline__ void write(float (&sums)[MTiles][Count][4], i64 begin) const {
        Element* to = static_cast<Element*>(a.out) + ((row * a.length + begin) * a.heads + first + own) * P + channel;
        const i64 token = a.heads * P;
#if !SSD_FLOAT32
        if (a.wide) {
            constexpr int Together = 2 / MTiles;         // blocks of 8 tokens whose pieces make up four
#pragma unroll
            for (int n = 0; n < Count; n += Together) {
                unsigned words[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int m = MTiles == 2 ? i / 2 : 0, block = MTiles == 2 ? n : n + i / 2;
                    words[i] = transpose_block(round_to_bfloat16_pair(sums[m][block][i % 2 * 2], sums[m][block][i % 2 * 2 + 1]));
                }
                gather_pieces(words);
                const int t = 8 * n + r + (MTiles == 2 ? 0 : q / 2 * 8), p = MTiles == 2 ? 8 * q : q % 2 * 8;
                if (begin + t >= a.length || own >= count || channel + p >= P) continue;
                const bool there = begin + t < valid;
                *reinterpret_cast<uint4*>(to + t * token + p) = there ? uint4{words[0], words[1], words[2], words[3]} : uint4{0, 0, 0, 0};
            }
            return;
        }
#endif
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < Count; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int t = 8 * n + 2 * q + e % 2, p = 16 * m + r + e / 2 * 8;
                    if (begin + t < a.length && own < count && channel + p < P) to[t * token + p] = from_float<Element>(begin + t < valid ? sums[m][n][e] : 0.f);
                }
    }

    // the state before the chunk, for the pairs kernel
    __device__ __forceinline__ void save(const float (&state)[MTiles][NPad / 8][4], i64 chunk) const {
        Element* to = static_cast<Element*>(a.states) + (((row - a.firstRow) * a.chunks + chunk) * a.heads + first + own) * P * N;
#if !SSD_FLOAT32
        if (a.wide && NPad % 32 == 0) {
#pragma unroll
            for (int m = 0; m < MTiles; m++)
#pragma unroll
                for (int half = 0; half < 2; half++)
#pragma unroll
                    for (int n = 0; n < NPad / 32; n++) {
                        unsigned words[4];
#pragma unroll
                        for (int i = 0; i < 4; i++) words[i] = round_to_bfloat16_pair(state[m][4 * n + i][2 * half], state[m][4 * n + i][2 * half + 1]);
                        gather_pieces(words);
                        const int p = channel + 16 * m + r + 8 * half, s = 32 * n + 8 * q;
                        if (holds(p, s)) *reinterpret_cast<uint4*>(to + p * N + s) = uint4{words[0], words[1], words[2], words[3]};
                    }
            return;
        }
#endif
        each([&](int m, int n, int e, int at) { to[at] = from_float<Element>(state[m][n][e]); });
    }

    __device__ __forceinline__ void update(float (&state)[MTiles][NPad / 8][4], int stage_) const {
        const float kept = Documents && begins[stage_ * Q + Q - 1] >= 0 ? 0.f : decay(sum_at(stage_, own, Q - 1), Two{0, 0});
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < NPad / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) state[m][n][e] = kept == 0 ? 0.f : state[m][n][e] * kept;
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            float weights[4];
#pragma unroll
            for (int i = 0; i < 4; i++) weights[i] = to_after(stage_, 16 * k + i / 2 * 8 + 2 * q + i % 2);
            Left inputs[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) {
                const Left plain = left<In, true>(ins + stage_ * In::Size, warp * Rows + 16 * m, 16 * k);
#pragma unroll
                for (int word = 0; word < 4; word++) {
                    const Two input = value(plain, word);
                    unsigned words[Planes];
                    split(input.x * weights[word / 2 * 2], input.y * weights[word / 2 * 2 + 1], words);
#pragma unroll
                    for (int plane = 0; plane < Planes; plane++) inputs[m].words[plane][word] = words[plane];
                }
            }
#pragma unroll
            for (int n = 0; n < KSteps; n++) {
                const Right key = right<Key, true>(keys + stage_ * Key::Size, 16 * k, 16 * n);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(state[m][2 * n], state[m][2 * n + 1], inputs[m], key);
            }
        }
    }

    __device__ __forceinline__ void run() const {
        float state[MTiles][NPad / 8][4] = {};
        if (a.incoming) {
            const float* from = a.incoming + ((row * a.segments + segment) * a.heads + first + own) * P * N;
            each([&](int m, int n, int e, int at) { state[m][n][e] = from[at]; });
        }
        const i64 filled = (valid + Q - 1) / Q, begin = segment * a.chunksPerSegment;
        i64 end = begin + a.chunksPerSegment;
        if (end > a.chunks) end = a.chunks;
        const i64 last = end < filled ? end : filled, steps_ = last > begin ? last - begin : 0;
        auto chunk_of = [&](i64 i) { return Reverse ? last - 1 - i : begin + i; };
        if (steps_ > 0) {
            load_ahead(chunk_of(0), 0);
            if constexpr (Output) load_query(chunk_of(0));
            copy_commit();
        }
        for (i64 i = 0; i < steps_; i++) {
            const i64 chunk = chunk_of(i);
            const int stage_ = Stages == 2 ? static_cast<int>(i % 2) : 0;
            copy_wait<0>();
            __syncthreads();
            if (Stages == 2 && i + 1 < steps_) load_ahead(chunk_of(i + 1), 1 - stage_);
            copy_commit();
            if (a.states && own < count) save(state, chunk);
            if constexpr (Output) {
                square(stage_);
                __syncthreads();
#pragma unroll
                for (int start = 0; start < Q; start += Span) output(state, chunk, stage_, start);
                if (Stages == 2) {
                    __syncthreads();
                    if (i + 1 < steps_) load_query(chunk_of(i + 1));
                    copy_commit();
                }
            }
            update(state, stage_);
            if (Stages == 1 && i + 1 < steps_) {
                __syncthreads();
                load_ahead(chunk_of(i + 1), 0);
                if constexpr (Output) load_query(chunk_of(i + 1));
                copy_commit();
            }
        }
        if constexpr (Output) {                          // pads past the last chunk that was walked
            const i64 from = (last > begin ? last : begin) * Q, to = end * Q < a.length ? end * Q : a.length;
            for (i64 i = threadIdx.x; i < (to - from) * Channels; i += Threads) {
                const i64 t = from + i / Channels, head = i % Channels / Slice, p = offset + i % Slice;
                if (head < count && p < P) static_cast<Element*>(a.out)[((row * a.length + t) * a.heads + first + head) * P + p] = from_float<Element>(0);
            }
        }
        if (a.outgoing && (a.outgoingSegments > 1 || segment == (Reverse ? 0 : a.segments - 1))) {
            float* to = a.outgoing + ((row * a.outgoingSegments + (a.outgoingSegments > 1 ? segment : 0)) * a.heads + first + own) * P * N;
            each([&](int m, int n, int e, int at) { to[at] = state[m][n][e]; });
        }
    }
};

// ---- gradients of b, c and the time steps ----

struct Pairs {
    using In = Tile<Q, Unit>;
    using State = Tile<Unit, NPad>;
    using Key = Tile<Q, NPad>;
    using Square = Tile<Q, Q>;
    static constexpr int StageSize = 2 * In::Size + 2 * State::Size, UnitSteps = Unit / 16;
    static constexpr int Columns = (Blocks + ColumnWarps - 1) / ColumnWarps, States = (KSteps + ColumnWarps - 1) / ColumnWarps;    // blocks of 16 a warp has
    static constexpr int Numbers = Q * 3;                                          // delta, cum, what it lacks

    const DualArguments& a;
    i64 row, chunk, group, first, count, split_, valid, begin;
    int warp, lane, r, q, rowWarp, columnWarp;
    u16 *keys, *queries, *stages;
    float *numbers, *sums;
    int* begins;

    __device__ __forceinline__ explicit Pairs(const DualArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        keys = shared;
        queries = keys + Key::Size;
        stages = queries + Key::Size;
        numbers = reinterpret_cast<float*>(stages + PairStages * StageSize);
        sums = numbers + PairStages * Numbers;                                     // rows, columns, through c, through b: (8, Q) each; diagonal (Q); inner, dSkip (8) each
        begins = reinterpret_cast<int*>(sums + 33 * Q + 16);
        i64 block = blockIdx.x;
        split_ = block % a.splits;
        block /= a.splits;
        group = block % a.groups;
        block /= a.groups;
        chunk = block % a.chunks;
        row = a.firstRow + block / a.chunks;
        const i64 perGroup = a.heads / a.groups, part = (perGroup + a.splits - 1) / a.splits;
        first = group * perGroup + split_ * part;
        count = perGroup - split_ * part;
        count = count < 0 ? 0 : count < part ? count : part;
        valid = a.length;
        if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
        begin = chunk * Q;
        warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        rowWarp = warp % RowWarps;
        columnWarp = warp / RowWarps;
    }

    __device__ __forceinline__ void load_ahead(i64 unit, int stage_) const {
        const i64 head = first + unit / Units, offset = unit % Units * Unit, left = valid - begin, inToken = a.inToken, gradientToken = a.gradientToken;
        u16* to = stages + stage_ * StageSize;
        const Element* in = static_cast<const Element*>(a.in) + row * a.inRow + begin * inToken + head * P + offset;
        stage<In, Q, Unit, PairThreads>(to, a.wide, a.in, [=](int t, int p) -> const Element* { return t < left && offset + p < P ? in + t * inToken + p : nullptr; });
        const Element* gradient = static_cast<const Element*>(a.gradient) + row * a.gradientRow + begin * gradientToken + head * P + offset;
        stage<In, Q, Unit, PairThreads>(to + In::Size, a.wide, a.in, [=](int t, int p) -> const Element* { return t < left && offset + p < P ? gradient + t * gradientToken + p : nullptr; });
        const i64 state = ((((row - a.firstRow) * a.chunks + chunk) * a.heads + head) * P + offset) * N;
#pragma unroll
        for (int which = 0; which < 2; which++) {
            const Element* from = static_cast<const Element*>(which ? a.backStates : a.states) + state;
            stage<State, Unit, NPad, PairThreads>(to + 2 * In::Size + which * State::Size, a.wide, a.in, [=](int p, int n) -> const Element* {
                return offset + p < P && n < N ? from + p * N + n : nullptr;
            });
        }
        const i64 at = ((row * a.heads + head) * a.chunks + chunk) * Q;
        stage_numbers<Q, PairThreads>(numbers + stage_ * Numbers, a.delta + at);
        stage_numbers<Q, PairThreads>(numbers + stage_ * Numbers + Q, a.cum + at);
        stage_numbers<Q, PairThreads>(numbers + stage_ * Numbers + 2 * Q, a.cumLow + at);
    }

    __device__ __forceinline__ static float quad_sum(float value) { return lane_sum(value, 4); }

    __device__ __forceinline__ void finish(const float (&dKey)[States][2][4], const float (&dQuery)[States][2][4]) const {
#pragma unroll
        for (int s = 0; s < States; s++)
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const i64 t = begin + 16 * rowWarp + r + e / 2 * 8;
                    const int state = 16 * (columnWarp + s * ColumnWarps) + 8 * n + 2 * q + e % 2;
                    if (t >= a.length || state >= N) continue;
                    const i64 at = (((split_ * a.batch + row) * a.length + t) * a.groups + group) * N + state;
                    if (a.splits > 1) {
                        static_cast<float*>(a.dKey)[at] = dKey[s][n][e];
                        static_cast<float*>(a.dQuery)[at] = dQuery[s][n][e];
                    } else {
                        static_cast<Element*>(a.dKey)[at] = from_float<Element>(dKey[s][n][e]);
                        static_cast<Element*>(a.dQuery)[at] = from_float<Element>(dQuery[s][n][e]);
                    }
                }
    }

    __device__ __forceinline__ void run() const {
        float dKey[States][2][4] = {}, dQuery[States][2][4] = {}, dSquare[Columns][2][4] = {}, products[Columns][2][4] = {}, outer[Columns][2][4] = {};
        if (begin >= valid || count == 0) {
            finish(dKey, dQuery);
            for (i64 i = threadIdx.x; i < count; i += PairThreads) a.diagonal[(row * a.chunks + chunk) * a.heads + first + i] = 0;
            return;
        }
        {
            const i64 left = valid - begin, keyToken = a.keyToken, queryToken = a.queryToken;
            const Element* key = static_cast<const Element*>(a.key) + row * a.keyRow + begin * keyToken + group * N;
            stage<Key, Q, NPad, PairThreads>(keys, a.wide, a.in, [=](int t, int n) -> const Element* { return t < left && n < N ? key + t * keyToken + n : nullptr; });
            const Element* query = static_cast<const Element*>(a.query) + row * a.queryRow + begin * queryToken + group * N;
            stage<Key, Q, NPad, PairThreads>(queries, a.wide, a.in, [=](int t, int n) -> const Element* { return t < left && n < N ? query + t * queryToken + n : nullptr; });
            if constexpr (Documents) stage_numbers<Q, PairThreads>(begins, a.begins + (row * a.chunks + chunk) * Q);
        }
        load_ahead(0, 0);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block > rowWarp) continue;
#pragma unroll
            for (int k = 0; k < KSteps; k++)
                add_product(products[c][0], products[c][1], left<Key, false>(queries, 16 * rowWarp, 16 * k), right<Key, false>(keys, 16 * k, 16 * block));
        }
        const int edge = Documents ? begins[Q - 1] : -1;
        float inner = 0;
        float throughQuery[2] = {}, throughKey[2] = {};                             // of rows r and r + 8
        for (i64 unit = 0; unit < count * Units; unit++) {
            const int stage_ = PairStages == 2 ? static_cast<int>(unit % 2) : 0;
            if (unit > 0) {
                copy_wait<0>();
                __syncthreads();
            }
            if (PairStages == 2 && unit + 1 < count * Units) load_ahead(unit + 1, 1 - stage_);
            copy_commit();
            const u16 *in = stages + stage_ * StageSize, *gradient = in + In::Size, *state = gradient + In::Size, *back = state + State::Size;
            const float *delta = numbers + stage_ * Numbers, *cum = delta + Q, *low = cum + Q;
            Left gradients[UnitSteps];
#pragma unroll
            for (int k = 0; k < UnitSteps; k++) gradients[k] = left<In, false>(gradient, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int c = 0; c < Columns; c++) {
                const int block = columnWarp + c * ColumnWarps;
                if (block > rowWarp) continue;
#pragma unroll
                for (int k = 0; k < UnitSteps; k++) add_product(outer[c][0], outer[c][1], gradients[k], right<In, false>(in, 16 * k, 16 * block));
            }
            float fromEdge[2], toEdge[2];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int t = 16 * rowWarp + r + 8 * half;
                fromEdge[half] = Documents && begins[t] >= 0 ? 0.f : exp2_approximate(cum[t] + low[t]);
                toEdge[half] = Documents && t < edge ? 0.f : exp2_approximate(cum[Q - 1] - cum[t] + (low[Q - 1] - low[t]));
            }
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                float part[2][4] = {};
#pragma unroll
                for (int k = 0; k < UnitSteps; k++) add_product(part[0], part[1], gradients[k], right<State, true>(state, 16 * k, 16 * block));
#pragma unroll
                for (int n = 0; n < 2; n++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const Two other = value<Key>(queries, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q);
                        throughQuery[half] += part[n][2 * half] * other.x + part[n][2 * half + 1] * other.y;
                        dQuery[s][n][2 * half] += fromEdge[half] * part[n][2 * half];
                        dQuery[s][n][2 * half + 1] += fromEdge[half] * part[n][2 * half + 1];
                    }
            }
#pragma unroll
            for (int k = 0; k < UnitSteps; k++) gradients[k] = left<In, false>(in, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                float part[2][4] = {};
#pragma unroll
                for (int k = 0; k < UnitSteps; k++) add_product(part[0], part[1], gradients[k], right<State, true>(back, 16 * k, 16 * block));
#pragma unroll
                for (int n = 0; n < 2; n++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const float weight = toEdge[half] * delta[16 * rowWarp + r + 8 * half];
                        const Two other = value<Key>(keys, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q);
                        throughKey[half] += part[n][2 * half] * other.x + part[n][2 * half + 1] * other.y;
                        dKey[s][n][2 * half] += weight * part[n][2 * half];
                        dKey[s][n][2 * half + 1] += weight * part[n][2 * half + 1];
                    }
            }
            for (int i = threadIdx.x; i < Unit * NPad / 2; i += PairThreads) {
                const Two left_ = value<State>(state, i / (NPad / 2), i % (NPad / 2) * 2), right_ = value<State>(back, i / (NPad / 2), i % (NPad / 2) * 2);
                inner += left_.x * right_.x + left_.y * right_.y;
            }
            if (unit % Units == Units - 1) {                                        // all channels of the head are in
                const i64 head = first + unit / Units;
                finish_head(head, outer, products, dSquare, delta, cum, low);
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int t = 16 * rowWarp + r + 8 * half;
                    const float forQuery = quad_sum(throughQuery[half]) * fromEdge[half], forKey = quad_sum(throughKey[half]) * toEdge[half];
                    if (q == 0) {
                        sums[(16 + columnWarp) * Q + t] = forQuery;
                        sums[(24 + columnWarp) * Q + t] = forKey;
                    }
                    throughQuery[half] = throughKey[half] = 0;
                }
                inner = lane_sum(inner, 32);
                if (lane == 0) sums[33 * Q + warp] = inner;
                inner = 0;
                __syncthreads();
                if (threadIdx.x < Q) {
                    const int t = threadIdx.x;
                    float rows = 0, columns = 0, query = 0, key = 0;
#pragma unroll
                    for (int i = 0; i < ColumnWarps; i++) { rows += sums[i * Q + t]; query += sums[(16 + i) * Q + t]; key += sums[(24 + i) * Q + t]; }
#pragma unroll
                    for (int i = 0; i < RowWarps; i++) columns += sums[(8 + i) * Q + t];
                    const i64 at = ((row * a.heads + head) * a.chunks + chunk) * Q + t;
                    a.suffix[at] = rows + query - delta[t] * columns;
                    a.prefix[at] = key;
                    a.direct[at] = columns + sums[32 * Q + t];
                } else if (threadIdx.x == PairThreads - 1) {
                    float total = 0, dSkip = 0;
#pragma unroll
                    for (int i = 0; i < 8; i++) { total += sums[33 * Q + i]; dSkip += sums[33 * Q + 8 + i]; }
                    const i64 at = (row * a.chunks + chunk) * a.heads + head;
                    a.inner[at] = edge >= 0 ? 0.f : total * exp2_approximate(cum[Q - 1] + low[Q - 1]);
                    a.diagonal[at] = dSkip;
                }
            }
            if (PairStages == 1 && unit + 1 < count * Units) {
                __syncthreads();
                load_ahead(unit + 1, 0);
                copy_commit();
            }
        }
        // what the heads' pairs gave together, times b and c once
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block >= Blocks) continue;
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    put<Square>(stages, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q, dSquare[c][n][2 * half], dSquare[c][n][2 * half + 1]);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            const Left straight = left<Square, false>(stages, 16 * rowWarp, 16 * k), turned = left<Square, true>(stages, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                if (k <= rowWarp) add_product(dQuery[s][0], dQuery[s][1], straight, right<Key, true>(keys, 16 * k, 16 * block));
                if (k >= rowWarp) add_product(dKey[s][0], dKey[s][1], turned, right<Key, true>(queries, 16 * k, 16 * block));
            }
        }
        finish(dKey, dQuery);
    }

    // from dy x^T of a head: the sums over rows and columns that lead to the time steps, and its part of the gradient of c b^T
    __device__ __forceinline__ void finish_head(i64 head, float (&outer)[Columns][2][4], const float (&products)[Columns][2][4], float (&dSquare)[Columns][2][4],
        const float* delta, const float* cum, const float* low) const {
        float rows[2] = {}, dSkip = 0;
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block >= Blocks) continue;
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int from = 16 * block + 8 * n + 2 * q + e;
                    float columns = 0;
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int to = 16 * rowWarp + r + 8 * half;
                        float& value_ = outer[c][n][2 * half + e];
                        const bool seen = from <= to && (!Documents || from >= begins[to]);
                        const float decayed = value_ * exp2_approximate(cum[to] - cum[from] + (low[to] - low[from]));
                        const float kept = seen ? decayed : 0.f, through = kept * products[c][n][2 * half + e];
                        dSquare[c][n][2 * half + e] += kept * delta[from];
                        if (from == to) {
                            sums[32 * Q + to] = through;
                            dSkip += value_;
                        } else {
                            rows[half] += through * delta[from];
                            columns += through;
                        }
                        value_ = 0;
                    }
                    columns += from_lane_xor(columns, 4);
                    columns += from_lane_xor(columns, 8);
                    columns += from_lane_xor(columns, 16);
                    if (r == 0) sums[(8 + rowWarp) * Q + from] = columns;
                }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float total = quad_sum(rows[half]);
            if (q == 0) sums[columnWarp * Q + 16 * rowWarp + r + 8 * half] = total;
        }
        dSkip = lane_sum(dSkip, 32);
        if (lane == 0) sums[33 * Q + 8 + warp] = dSkip;
    }
};

__device__ __forceinline__ void pairs(const DualArguments& a) { Pairs(a).run(); }
template <bool Reverse, bool Output> __device__ __forceinline__ void walk(const DualArguments& a) { Walk<Reverse, Output>(a).run(); }

KERNEL(dual_steps, 256, DualArguments, steps)
KERNEL(dual_step_gradients, 256, DualArguments, step_gradients)
KERNEL(dual_combine, 256, DualArguments, combine<false>)
KERNEL(dual_combine_back, 256, DualArguments, combine<true>)
KERNEL(dual_states, Threads, DualArguments, walk<false, false>)
KERNEL(dual_states_back, Threads, DualArguments, walk<true, false>)
KERNEL(dual_walk, Threads, DualArguments, walk<false, true>)
KERNEL(dual_walk_back, Threads, DualArguments, walk<true, true>)
KERNEL(dual_pairs, PairThreads, DualArguments, pairs)
