// The state-space dual of Mamba-2: S[t] = exp(delta[t] a) S[t-1] + delta[t] x[t] b[t]^T, y[t] = S[t] c[t] + skip x[t], and its gradients, on tensor
// cores.
//
// Tokens are cut into chunks of Q. With cum[t] the sum of delta a log2(e) from a chunk's start, and S the state before the chunk,
//   y[i] = 2^cum[i] S c[i] + sum over j <= i of 2^(cum[i] - cum[j]) delta[j] (c[i].b[j]) x[j] + skip x[i],   S' = 2^cum[Q-1] S + sum of 2^(cum[Q-1] -
// cum[j]) delta[j] x[j] b[j]^T.
// Only differences that are at most 0 are raised.
//
// walk: a block owns up to 128 channels of one row (2 heads of 64, 1 of 128) and walks the chunks in order. The state stands in registers as float32
// sums and is rounded in
// place where it is an operand. One c b^T of the chunk serves all heads of the block. Tokens of the next chunk are copied at the same time.
// The gradient of x is the same walk from the end, with dy for x and b and c in each other's place. Where rows and heads are too few for the GPU,
// rows are cut into
// segments: one walk for each segment's own state, `combine` over the segments, and the main walk with what comes in.
// pairs: gradients of b, c and the time steps. A block owns one chunk of one group and goes through the heads: dy x^T, dy S and x dS, S and dS being
// what the walks
// in both directions left for each chunk. Gradients of b and c stay in registers over all heads; the part within the chunk is (sum over heads) x (Q x
// N) once.
// steps, step_gradients: delta and cum before, and what they lead back to after.
// This file has single warps multiply (mma.sync), for every size and GPU; StateSpaceDualGroups.cuh has four together (wgmma), for bfloat16, P a
// multiple of 64 and N 64 or 128 on
// compute capability 9.0.
//
// Float32 is cut into three bfloat16 planes, and the six products that matter are summed: about as exact as float32. Every sum has one fixed order.
//
// What has to move, B8 L8192 H64 P64 N128 bfloat16: forward x and y, 1.07 GB, 0.25 ms at 4.3 TB/s; 3.7 MFLOP a chunk and head, 0.24 TFLOP, 0.31 ms at
// 790 TFLOP/s.
// Backward: x, dy twice, dx, S read, dS written and read (16 KB a chunk and head each), 5.4 GB, 1.25 ms; 0.38 TFLOP, 0.48 ms. On one H100 (3.0 TB/s):
// forward 0.50 ms;
// with backward, S kept, 2.94 ms as a sum of kernels. What each step gave stands in lab/kernels-log.md.
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
#define SSD_TILES 2             // times 16 channels of a walk's warp
#define SSD_SPAN 64             // tokens of output at a time
#define SSD_BLOCKS 2            // a walk's blocks on a multiprocessor
#define SSD_PAIR_WARPS 8
#define SSD_GROUPS 0            // groups of four warps that multiply together in a walk's block, on compute capability 9.0a; 0 for single warps
#define SSD_FLOAT32 0           // or bfloat16
#define SSD_DOCUMENTS 0         // whether documents begin within rows
#define SSD_PART 0              // 1 for the forward kernels, 2 for the rest, 0 for all
#endif

constexpr int P = SSD_P, N = SSD_N, Q = SSD_CHUNK, Heads = SSD_HEADS, Stages = SSD_STAGES, Unit = SSD_UNIT, PairStages = SSD_PAIR_STAGES;
constexpr bool Documents = SSD_DOCUMENTS;
#if SSD_FLOAT32
using Element = float;
using Sum = double;                                     // of a chunk's logarithms, and of what leads back to them
constexpr int Planes = 3, Vector = 4;
#else
using Element = bfloat16;
using Sum = float;
constexpr int Planes = 1, Vector = 8;
#endif

constexpr int NPad = (N + 15) / 16 * 16, KSteps = NPad / 16, Blocks = Q / 16;      // Blocks of 16 tokens
constexpr int MTiles = SSD_TILES, Rows = SSD_GROUPS ? 16 : 16 * MTiles;          // channels of a warp
// channels of a head in one block
constexpr int HeadWarps = P > 128 - Rows ? 128 / Rows : (P + Rows - 1) / Rows, Slice = HeadWarps * Rows, Slices = (P + Slice - 1) / Slice;
constexpr int Warps = Heads * HeadWarps, Threads = 32 * Warps, Channels = Warps * Rows;
constexpr int WalkThreads = Threads + (SSD_GROUPS ? 128 : 0);                    // with the warps that make chunks ready
constexpr int PairWarps = SSD_PAIR_WARPS, PairThreads = 32 * PairWarps, RowWarps = Blocks, ColumnWarps = PairWarps / RowWarps,
Units = (P + Unit - 1) / Unit;
constexpr float LeastLogarithm = -128;      // 2^-128 is 0 here

static_assert(sizeof(int) == sizeof(float) && Q % 16 == 0 && Q <= 64 && PairWarps % Blocks == 0 && Unit % 16 == 0, "sizes the kernels are cut for");

struct DualArguments {
    TensorMap inMap, keyMap, queryMap, outMap, gradientMap, statesMap, backStatesMap;   // of what groups of four warps read and write
    Typed timeStep;
    const void *in, *key, *query, *gradient;          // (batch, length, heads, P), (batch, length, groups, N) twice, like in
    const float *a, *skip, *bias, *incoming, *finalGradient;
    const bool* starts;                               // (batch, length), or null
    const i64* lengths;                               // (batch), or null
    float *delta, *cum, *cumLow;                      // (batch, heads, chunks Q): the steps, their sums and what those lack
    int* begins;                                      // (batch, chunks Q): where in the chunk a token's document begins, -1 before it; or null
    void *out, *states, *backStates;                  // like in; (batch, chunks, heads, P, N) of in's type twice, or null
    float* outgoing;                                  // (batch, heads, P, N), or (batch, segments, heads, P, N)
    Sum* suffix;                                      // (batch, heads, chunks Q): with the following, what leads back to the steps
    float *prefix, *direct, *inner, *diagonal;        // like suffix twice, (batch, chunks, heads) twice
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
template <class T, bool Transposed> __device__ __forceinline__ Left left(Place tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    const int at = Transposed ? (column + lane % 8 + lane / 16 * 8) * T::Stride + row + lane / 8 % 2 * 8
        : (row + lane % 16) * T::Stride + column + lane / 16 * 8;
    Left result;
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) load_blocks<Transposed>(result.words[plane], tile + plane * T::Plane + at);
    return result;
}

// the block of sums over k and of columns `column` on; the tile holds it row by row with Rowwise, else column by column
template <class T, bool Rowwise> __device__ __forceinline__ Right right(Place tile, int k, int column) {
    const int lane = threadIdx.x % 32;
    const int at = Rowwise ? (k + lane % 16) * T::Stride + column + lane / 16 * 8
        : (column + lane % 8 + lane / 16 * 8) * T::Stride + k + lane / 8 % 2 * 8;
    Right result;
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) load_blocks<Rowwise>(result.words[plane], tile + plane * T::Plane + at);
    return result;
}

// sums += a b for both halves of b; small products first. Tensor cores cut where others round, by a last place of what they add to: float32 products
// are summed apart.
__device__ __forceinline__ void add_product(float (&lowSum)[4], float (&highSum)[4], const Left& a, const Right& b) {
    float own[2][4] = {};
    float (&low)[4] = Planes > 1 ? own[0] : lowSum, (&high)[4] = Planes > 1 ? own[1] : highSum;
#pragma unroll
    for (int order = 2 * Planes - 2; order >= 0; order--)
#pragma unroll
        for (int i = 0; i < Planes; i++) {
            const int j = order - i;
            if (order >= Planes || j < 0 || j >= Planes) continue;
            multiply_add(low, a.words[i], b.words[j][0], b.words[j][1]);
            multiply_add(high, a.words[i], b.words[j][2], b.words[j][3]);
        }
    if constexpr (Planes > 1)
#pragma unroll
        for (int e = 0; e < 4; e++) { lowSum[e] += low[e]; highSum[e] += high[e]; }
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
    Two result = {first_of(block.words[Planes - 1][word]), second_of(block.words[Planes - 1][word])};
#pragma unroll
    for (int plane = Planes - 2; plane >= 0; plane--) { result.x += first_of(block.words[plane][word]);
        result.y += second_of(block.words[plane][word]); }
    return result;
}

template <class T> __device__ __forceinline__ Two value(const u16* tile, int row, int column) {
    Two result;
#pragma unroll
    for (int plane = Planes - 1; plane >= 0; plane--) {
        const unsigned word = *reinterpret_cast<const unsigned*>(tile + plane * T::Plane + row * T::Stride + column);
        result.x = plane == Planes - 1 ? first_of(word) : result.x + first_of(word);
        result.y = plane == Planes - 1 ? second_of(word) : result.y + second_of(word);
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

// Fills TileRows x Columns with `rows` rows of `width` elements, `stride` apart from `from` on, and zeros around them. Pieces of 16 bytes fit both
// with `wide`.
template <class T, int TileRows, int Columns,
    int Count> __device__ __forceinline__ void stage(u16* tile, const Element* from, i64 stride, i64 rows, int width, bool wide) {
    const int left_ = rows < TileRows ? static_cast<int>(rows) : TileRows;
    constexpr int PerRow = Columns / Vector, All = TileRows * PerRow;
    if (wide) {
#if SSD_FLOAT32
#pragma unroll
        for (int pass = 0; pass < (All + Count - 1) / Count; pass++) {
            const int i = pass * Count + threadIdx.x, row = i / PerRow, column = i % PerRow * Vector;
            if (All % Count && i >= All) continue;
            float values[4] = {0, 0, 0, 0};
            if (row < left_ && column < width) load<float, 4>(from, row * stride + column, values);
            put<T>(tile, row, column, values[0], values[1]);
            put<T>(tile, row, column + 2, values[2], values[3]);
        }
#else
        const Place to = place_of(tile);
        if constexpr (Count % PerRow == 0 && All % Count == 0) {                    // a thread's column stays, and its rows are equally far apart
            constexpr int Step = Count / PerRow;
            const int first = threadIdx.x / PerRow, column = threadIdx.x % PerRow * Vector, end = column < width ? left_ : 0;
            const Element* at = from + first * stride + column;
            const i64 step = Step * stride;
            const Place place = to + (first * T::Stride + column);
#pragma unroll
            for (int pass = 0; pass < All / Count; pass++, at += step) copy_async_16(place + pass * Step * T::Stride, at, first + pass * Step < end);
        } else {
#pragma unroll
            for (int pass = 0; pass < (All + Count - 1) / Count; pass++) {
                const int i = pass * Count + threadIdx.x, row = i / PerRow, column = i % PerRow * Vector;
                if (All % Count && i >= All) continue;
                copy_async_16(to + (row * T::Stride + column), from + row * stride + column, row < left_ && column < width);
            }
        }
#endif
    } else {
        for (int i = threadIdx.x; i < TileRows * Columns / 2; i += Count) {
            const int row = i / (Columns / 2), column = i % (Columns / 2) * 2;
            const Element* at = from + row * stride + column;
            put<T>(tile, row, column, row < left_ && column < width ? to_float(at[0]) : 0.f,
                row < left_ && column + 1 < width ? to_float(at[1]) : 0.f);
        }
    }
}

// the numbers of a chunk, from (Arrays) to (Arrays, Q)
template <int Arrays, int Count, class From> __device__ __forceinline__ void stage_numbers(float* to, int thread, From from) {
    constexpr int Pieces = Q / 4;
    const Place place = place_of(reinterpret_cast<u16*>(to));
#pragma unroll
    for (int pass = 0; pass < (Arrays * Pieces + Count - 1) / Count; pass++) {
        const int i = pass * Count + thread;
        if (Arrays * Pieces % Count && i >= Arrays * Pieces) continue;
        copy_async_16(place + 8 * i, from(i / Pieces) + i % Pieces * 4, true);
    }
}

// ---- time steps ----

// a block: one chunk of one row, 32 heads
__device__ __forceinline__ void steps(const DualArguments& a) {
    DYNAMIC_SHARED(float, shared);                     // delta, cum and what it lacks, (32, Q + 1) each
    constexpr int Line = Q + 1;
    float *delta = shared, *cum = delta + 32 * Line, *low = cum + 32 * Line;
    const i64 headBlocks = (a.heads + 31) / 32, chunk = blockIdx.x / headBlocks, first = blockIdx.x % headBlocks * 32, row = a.firstRow + blockIdx.y,
        begin = chunk * Q;
    i64 valid = a.length;
    if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i % 32, t = begin + i / 32;
        float step = 0, logarithm = 0;
        if (head < a.heads && t < valid) {
            step = a.timeStep[row * a.stepRow + t * a.stepToken + head] + (a.bias ? a.bias[head] : 0.f);
            if (a.softplus) step = softplus<Element>(step);
            step = step < a.minimum ? a.minimum : step > a.maximum ? a.maximum : step;
            logarithm = step * a.a[head] * log2_e;
            logarithm = logarithm < LeastLogarithm ? LeastLogarithm : logarithm;
        }
        delta[i % 32 * Line + i / 32] = step;
        cum[i % 32 * Line + i / 32] = logarithm;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        Sum sum = 0;
#pragma unroll 16
        for (int t = 0; t < Q; t++) {
            sum += cum[threadIdx.x * Line + t];
            cum[threadIdx.x * Line + t] = static_cast<float>(sum);
            if constexpr (Planes > 1) low[threadIdx.x * Line + t] = static_cast<float>(sum - static_cast<float>(sum));
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
        if constexpr (Planes > 1) a.cumLow[to] = low[i / Q * Line + i % Q];
    }
}

// a block: like steps. The gradient of a decay's logarithm sums what passes it: from tokens at or after it to those before it, in the chunk or
// beyond.
__device__ __forceinline__ void step_gradients(const DualArguments& a) {
    DYNAMIC_SHARED(float, shared);
    constexpr int Line = Q + 1;
    float *prefix = shared, *direct = prefix + 32 * Line, *delta = direct + 32 * Line;
    Sum* suffix = reinterpret_cast<Sum*>(delta + 32 * Line);
    const i64 headBlocks = (a.heads + 31) / 32, chunk = blockIdx.x / headBlocks, first = blockIdx.x % headBlocks * 32, row = a.firstRow + blockIdx.y,
        begin = chunk * Q;
    i64 valid = a.length;
    if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i / Q, from = ((row * a.heads + head) * a.chunks + chunk) * Q + i % Q;
        const int to = i / Q * Line + i % Q;
        const bool there = head < a.heads && begin + i % Q < valid;
        suffix[to] = there ? a.suffix[from] : Sum(0);
        prefix[to] = there ? a.prefix[from] : 0.f;
        direct[to] = there ? a.direct[from] : 0.f;
        delta[to] = there ? a.delta[from] : 0.f;
    }
    __syncthreads();
    if (threadIdx.x < 32 && first + threadIdx.x < a.heads) {
        const i64 head = first + threadIdx.x, to = (row * a.chunks + chunk) * a.heads + head;
        const int line = threadIdx.x * Line;
        const float rate = a.a[head];
        // what passes a token is small relative to the sums whose difference it is, in which pairs within the chunk cancel
        double after = 0, before = begin < valid ? a.inner[to] : 0.f, dA = 0;
#pragma unroll 16
        for (int t = 0; t < Q; t++) after += suffix[line + t];
#pragma unroll 8
        for (int t = 0; t < Q; t++) {
            const double through = after + before;
            after -= suffix[line + t];
            before += static_cast<double>(delta[line + t]) * prefix[line + t];
            dA += delta[line + t] * through;
            direct[line + t] += prefix[line + t] + rate * static_cast<float>(through);
        }
        a.dA[to] = static_cast<float>(dA);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = first + i % 32, t = begin + i / 32;
        if (head >= a.heads || t >= a.length) continue;
        float gradient = 0;
        if (t < valid) {
            const float raw = a.timeStep[row * a.stepRow + t * a.stepToken + head] + (a.bias ? a.bias[head] : 0.f),
                step = a.softplus ? softplus<Element>(raw) : raw;
            if (step >= a.minimum && step <= a.maximum) gradient = direct[i % 32 * Line + i / 32] * (a.softplus ? sigmoid<Element>(raw) : 1.f);
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
        decays[segment] = kept ? exp2_of<Element>(sum) : 0.f;
    }
    __syncthreads();
    if (element >= P * N) return;
    float state = a.incoming ? a.incoming[(row * a.heads + head) * P * N + element] : 0.f;
    constexpr int Together = 8;
    for (i64 i = 0; i < a.segments; i += Together) {
        float own[Together];
        float* at[Together];
#pragma unroll
        for (int j = 0; j < Together; j++) {
            const i64 segment = i + j < a.segments ? Reverse ? a.segments - 1 - i - j : i + j : 0;
            at[j] = a.outgoing + ((row * a.segments + segment) * a.heads + head) * P * N + element;
            own[j] = i + j < a.segments ? *at[j] : 0.f;
        }
#pragma unroll
        for (int j = 0; j < Together; j++) {
            if (i + j >= a.segments) continue;
            *at[j] = state;
            state = state * decays[Reverse ? a.segments - 1 - i - j : i + j] + own[j];
        }
    }
}

// ---- the walk ----

// what a block walks
struct WalkBlock {
    const DualArguments& a;
    // the block's heads: first on, count of them; offset: of their channels
    i64 row, group, first, count, offset, valid, segment;
    // of the chunks: those of the segment, and of them those that hold tokens
    i64 begin, end, last, steps_;
    // own: this warp's head in the block; channel: its first in the head
    int warp, lane, r, q, own, channel;

    __device__ __forceinline__ explicit WalkBlock(const DualArguments& arguments) : a(arguments) {
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
        const i64 filled = (valid + Q - 1) / Q;
        begin = segment * a.chunksPerSegment;
        end = begin + a.chunksPerSegment;
        if (end > a.chunks) end = a.chunks;
        last = end < filled ? end : filled;
        steps_ = last > begin ? last - begin : 0;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        own = warp / HeadWarps;
        channel = static_cast<int>(offset) + warp % HeadWarps * Rows;
    }

    // this warp's head in the state that comes in or goes out, of the whole row or of every segment
    __device__ __forceinline__ i64 state_at(
        i64 segments) const { return ((row * segments + (segments > 1 ? segment : 0)) * a.heads + first + own) * P * N; }

    // zeros for pads past the last chunk that is walked
    __device__ __forceinline__ void clear_pads() const {
        const i64 from = (last > begin ? last : begin) * Q, to = end * Q < a.length ? end * Q : a.length;
        for (i64 i = threadIdx.x; i < (to - from) * Channels; i += Threads) {
            const i64 t = from + i / Channels, head = i % Channels / Slice, p = offset + i % Slice;
            if (head < count && p < P) static_cast<Element*>(a.out)[((row * a.length + t) * a.heads + first + head) * P + p] = from_float<Element>(0);
        }
    }
};

template <bool Reverse, bool Output> struct Walk : WalkBlock {
    using In = Tile<Q, Channels>;
    using Key = Tile<Q, NPad>;
    using Square = Tile<Q, Q>;
    static constexpr int Numbers = Heads * Q, Arrays = Planes > 1 ? 3 : 2, Span = Q < SSD_SPAN ? Q : SSD_SPAN;

    u16 *ins, *keys, *queries, *squares;
    Place inPlace, keyPlace, queryPlace, squarePlace;
    // (Stages, Arrays, Heads, Q): steps, sums, what those lack; (Heads, Q) twice: see `weigh`
    float *numbers, *before, *after;
    int* begins;

    __device__ __forceinline__ explicit Walk(const DualArguments& arguments) : WalkBlock(arguments) {
        DYNAMIC_SHARED(u16, shared);
        ins = shared;
        keys = ins + Stages * In::Size;
        queries = keys + Stages * Key::Size;
        squares = queries + (Output ? Key::Size : 0);
        numbers = reinterpret_cast<float*>(squares + (Output ? Heads * Square::Size : 0));
        before = numbers + Stages * Arrays * Numbers;
        after = before + Numbers;
        begins = reinterpret_cast<int*>(after + Numbers);
        inPlace = place_of(ins);
        keyPlace = place_of(keys);
        queryPlace = place_of(queries);
        squarePlace = place_of(squares);
    }

    __device__ __forceinline__ i64 chunk_of(i64 i) const { return Reverse ? last - 1 - i : begin + i; }

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
        if constexpr (P == Slice) stage<In, Q, Channels, Threads>(
            ins + stage_ * In::Size, in, a.inToken, valid - begin, static_cast<int>(count) * P, a.wide);
        else
            for (int head = 0; head < Heads; head++) {
                const i64 width = head < count ? P - offset < Slice ? P - offset : Slice : 0;
                stage<In, Q, Slice, Threads>(ins + stage_ * In::Size + head * Slice, in + head * P, a.inToken, valid - begin, static_cast<int>(width),
                    a.wide);
            }
        stage<Key, Q, NPad, Threads>(keys + stage_ * Key::Size, static_cast<const Element*>(a.key) + row * a.keyRow + begin * a.keyToken + group * N,
            a.keyToken, valid - begin, N, a.wide);
        const float* from = a.delta + ((row * a.heads + first) * a.chunks + chunk) * Q;
        const i64 cum = a.cum - a.delta, low = a.cumLow - a.delta, next = a.chunks * Q, last = count - 1;
        stage_numbers<Arrays * Heads, Threads>(numbers + stage_ * Arrays * Numbers, threadIdx.x, [=](int i) {
            const int array = i / Heads, head = i % Heads;
            return from + (array == 0 ? 0 : array == 1 ? cum : low) + (head < last ? head : last) * next;
        });
        if constexpr (Documents) {
            const float* begins_ = reinterpret_cast<const float*>(a.begins) + (row * a.chunks + chunk) * Q;
            stage_numbers<1, Threads>(reinterpret_cast<float*>(begins + stage_ * Q), threadIdx.x, [=](int) { return begins_; });
        }
    }

    __device__ __forceinline__ void load_query(i64 chunk) const {
        stage<Key, Q, NPad, Threads>(queries, static_cast<const Element*>(a.query) + row * a.queryRow + chunk * Q * a.queryToken + group * N,
            a.queryToken, valid - chunk * Q, N, a.wide);
    }

    // 2^(sum up to `to` - sum up to `from`)
    __device__ __forceinline__ static float decay(Two to, Two from) {
        float exponent = to.x - from.x;
        if constexpr (Planes > 1) exponent += to.y - from.y;
        return exp2_of<Element>(exponent);
    }

    __device__ __forceinline__ const float* steps_of(int stage_, int head) const { return numbers + (stage_ * Arrays * Heads + head) * Q; }
    __device__ __forceinline__ const float* sums_of(int stage_, int head) const { return numbers + ((stage_ * Arrays + 1) * Heads + head) * Q; }

    __device__ __forceinline__ Two sum_at(int stage_, int head, int t) const {
        const float* sums = sums_of(stage_, head);
        return {sums[t], Planes > 1 ? sums[Numbers + t] : 0.f};
    }

    // for every token what is left there of the state before the chunk, in walking order, and what is left of the token after the chunk
    __device__ __forceinline__ void weigh(int stage_) const {
#pragma unroll
        for (int pass = 0; pass < (Numbers + Threads - 1) / Threads; pass++) {
            const int i = pass * Threads + threadIdx.x;
            if (Numbers % Threads && i >= Numbers) continue;
            const int head = i / Q, t = i % Q;
            const Two sum = sum_at(stage_, head, t);
            float from = decay(sum, Two{0, 0}), to = decay(sum_at(stage_, head, Q - 1), sum);
            if constexpr (Documents) {
                if (begins[stage_ * Q + t] >= 0) from = 0;
                if (t < begins[stage_ * Q + Q - 1]) to = 0;
            }
            const float step = steps_of(stage_, head)[t];
            before[i] = Reverse ? to * step : from;
            after[i] = Reverse ? from : to * step;
        }
    }

    // One 16 x 16 block of decayed products for a head: rows are outputs, columns what they take from. The skip is on the diagonal; the gradient's
    // steps are the rows'.
    __device__ __forceinline__ void decayed(int stage_, int head, int to, int from, const float (&products)[2][4], float skip) const {
        const float *sums = sums_of(stage_, head), *steps_ = steps_of(stage_, head);
        const bool diagonal = to == from;
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const int column = from + 8 * n + 2 * q;
            const Two others = pair_of(sums, column), othersLow = Planes > 1 ? pair_of(sums + Numbers, column) : Two{0, 0},
                factors = Reverse ? Two{1, 1} : pair_of(steps_, column);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int line = to + r + 8 * half;
                const Two sum = {sums[line], Planes > 1 ? sums[Numbers + line] : 0.f};
                const float step = Reverse ? steps_[line] : 1.f;
                float values[2];
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const Two other = {e ? others.y : others.x, e ? othersLow.y : othersLow.x};
                    values[e] = products[n][2 * half + e] * (Reverse ? decay(other, sum) * step : decay(sum, other) * (e ? factors.y : factors.x));
                    const int t = column + e;
                    if constexpr (Documents) {
                        const int* starts = begins + stage_ * Q;
                        if (Reverse ? line < starts[t] : t < starts[line]) values[e] = 0;
                    }
                    if (diagonal) {
                        if (Reverse ? t < line : t > line) values[e] = 0;
                        if (t == line) values[e] += skip;
                    }
                }
                put<Square>(squares + head * Square::Size, line, column, values[0], values[1]);
            }
        }
    }

    // decayed products of all pairs of the chunk's tokens
    __device__ __forceinline__ void square(int stage_, const float (&skips)[Heads]) const {
        constexpr int Group = Blocks < 2 ? Blocks : 2, Groups = Blocks / Group, Pieces = Groups == 2 ? 6 : Blocks;
        // row and group of each piece, large ones first, so that warps have about as much to do
        constexpr unsigned RowOf = Blocks == 4 ? 0x021323 : Blocks == 2 ? 0x01 : 0, GroupOf = Blocks == 4 ? 0x010100 : 0;
        const Place key = keyPlace + stage_ * Key::Size;
        for (int piece = warp; piece < Pieces; piece += Warps) {
            const int rowOf = RowOf >> 4 * piece & 15, groupOf = GroupOf >> 4 * piece & 15;
            const int block = Reverse ? Blocks - 1 - rowOf : rowOf, start = (Reverse ? Groups - 1 - groupOf : groupOf) * Group;
            float products[Group][2][4] = {};
#pragma unroll
            for (int k = 0; k < KSteps; k++) {
                const Left rows = left<Key, false>(queryPlace, 16 * block, 16 * k);
#pragma unroll
                for (int g = 0; g < Group; g++) {
                    if (Reverse ? start + g < block : start + g > block) continue;
                    add_product(products[g][0], products[g][1], rows, right<Key, false>(key, 16 * k, 16 * (start + g)));
                }
            }
#pragma unroll
            for (int head = 0; head < Heads; head++)
#pragma unroll
                for (int g = 0; g < Group; g++) {
                    if (Reverse ? start + g < block : start + g > block) continue;
                    decayed(stage_, head, 16 * block, 16 * (start + g), products[g], skips[head]);
                }
        }
    }

    // output of tokens start to start + Span - 1
    __device__ __forceinline__ void output(const float (&state)[MTiles][NPad / 8][4], i64 chunk, int stage_, int start) const {
        constexpr int Wide = Span / 16;
        float sums[MTiles][2 * Wide][4] = {};
        const Place in = inPlace + (stage_ * In::Size + warp * Rows), weights = squarePlace + own * Square::Size;
#pragma unroll
        for (int k = 0; k < KSteps; k++) {
            Left states[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) states[m] = as_left(state[m][2 * k], state[m][2 * k + 1]);
#pragma unroll
            for (int w = 0; w < Wide; w++) {
                const Right query = right<Key, false>(queryPlace, 16 * k, start + 16 * w);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(sums[m][2 * w], sums[m][2 * w + 1], states[m], query);
            }
        }
#pragma unroll
        for (int n = 0; n < 2 * Wide; n++) {
            const Two left_ = pair_of(before, own * Q + start + 8 * n + 2 * q);
#pragma unroll
            for (int m = 0; m < MTiles; m++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[m][n][e] *= e % 2 ? left_.y : left_.x;
        }
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            if (Reverse ? 16 * k < start : 16 * k >= start + Span) continue;
            Left inputs[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) inputs[m] = left<In, true>(in, 16 * m, 16 * k);
#pragma unroll
            for (int w = 0; w < Wide; w++) {
                if (Reverse ? 16 * k < start + 16 * w : 16 * k > start + 16 * w) continue;
                const Right factors = right<Square, false>(weights, 16 * k, start + 16 * w);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(sums[m][2 * w], sums[m][2 * w + 1], inputs[m], factors);
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
            const i64 left_ = valid - begin, rows = a.length - begin;
            // pieces 0 and 1 lie side by side, and 2 and 3: of 16 channels each, or of 8 tokens further on
            Element* at = to + (r * token + (q % 2 * 8 + q / 2 * 4));
            const i64 step = 8 * token, second = MTiles == 2 ? 16 : step;
            const bool here = own < count && channel + q % 2 * 8 < P, there = own < count && channel + (MTiles == 2 ? 16 : 0) + q % 2 * 8 < P;
#pragma unroll
            for (int n = 0; n < Count; n += Together, at += Together * step) {
                unsigned words[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int m = MTiles == 2 ? i / 2 : 0, block = MTiles == 2 ? n : n + i / 2;
                    words[i] = transpose_block(round_to_bfloat16_pair(sums[m][block][i % 2 * 2], sums[m][block][i % 2 * 2 + 1]));
                }
                gather_halves(words);
                const int t = 8 * n + r, u = t + (MTiles == 2 ? 0 : 8);
                if (t >= left_) words[0] = words[1] = 0;
                if (u >= left_) words[2] = words[3] = 0;
                if (t < rows && here) *reinterpret_cast<Word<8>*>(at) = {{words[0], words[1]}};
                if (u < rows && there) *reinterpret_cast<Word<8>*>(at + second) = {{words[2], words[3]}};
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
                    if (begin + t < a.length && own < count && channel + p < P)
                        to[t * token + p] = from_float<Element>(begin + t < valid ? sums[m][n][e] : 0.f);
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
                for (int half = 0; half < 2; half++) {
                    const int p = channel + 16 * m + r + 8 * half;
                    if (own >= count || p >= P) continue;
                    Element* at = to + (p * N + (q % 2 * 8 + q / 2 * 4));
#pragma unroll
                    for (int n = 0; n < NPad / 32; n++) {
                        unsigned words[4];
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            words[i] = round_to_bfloat16_pair(state[m][4 * n + i][2 * half], state[m][4 * n + i][2 * half + 1]);
                        gather_halves(words);
                        const int s = 32 * n + q % 2 * 8;
                        if (s < N) *reinterpret_cast<Word<8>*>(at + 32 * n) = {{words[0], words[1]}};
                        if (s + 16 < N) *reinterpret_cast<Word<8>*>(at + 32 * n + 16) = {{words[2], words[3]}};
                    }
                }
            return;
        }
#endif
        each([&](int m, int n, int e, int at) { to[at] = from_float<Element>(state[m][n][e]); });
    }

    __device__ __forceinline__ void update(float (&state)[MTiles][NPad / 8][4], int stage_) const {
        float kept = decay(sum_at(stage_, own, Q - 1), Two{0, 0});
        if (Documents && begins[stage_ * Q + Q - 1] >= 0) kept = 0;
        const Place in = inPlace + (stage_ * In::Size + warp * Rows), key = keyPlace + stage_ * Key::Size;
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < NPad / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) state[m][n][e] *= kept;
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            const Two low = pair_of(after, own * Q + 16 * k + 2 * q), high = pair_of(after, own * Q + 16 * k + 8 + 2 * q);
            const float weights[4] = {low.x, low.y, high.x, high.y};
            Left inputs[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) {
                const Left plain = left<In, true>(in, 16 * m, 16 * k);
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
                const Right keys_ = right<Key, true>(key, 16 * k, 16 * n);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(state[m][2 * n], state[m][2 * n + 1], inputs[m], keys_);
            }
        }
    }

    __device__ __forceinline__ void run() const {
        float state[MTiles][NPad / 8][4] = {};
        if (a.incoming) {
            const float* from = a.incoming + state_at(a.segments);
            each([&](int m, int n, int e, int at) { state[m][n][e] = from[at]; });
        }
        float skips[Heads];
#pragma unroll
        for (int head = 0; head < Heads; head++) skips[head] = a.skip && head < count ? a.skip[first + head] : 0.f;
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
            if (a.states) save(state, chunk);
            weigh(stage_);
            if constexpr (Output) {
                square(stage_, skips);
                __syncthreads();
#pragma unroll
                for (int start = 0; start < Q; start += Span) output(state, chunk, stage_, start);
                if (Stages == 2) {
                    __syncthreads();
                    if (i + 1 < steps_) load_query(chunk_of(i + 1));
                    copy_commit();
                }
            }
            if constexpr (!Output) __syncthreads();
            update(state, stage_);
            if (Stages == 1 && i + 1 < steps_) {
                __syncthreads();
                load_ahead(chunk_of(i + 1), 0);
                if constexpr (Output) load_query(chunk_of(i + 1));
                copy_commit();
            }
        }
        if constexpr (Output) clear_pads();
        if (a.outgoing && (a.outgoingSegments > 1 || segment == (Reverse ? 0 : a.segments - 1))) {
            float* to = a.outgoing + state_at(a.outgoingSegments);
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
    // blocks of 16 a warp has
    static constexpr int Columns = (Blocks + ColumnWarps - 1) / ColumnWarps, States = (KSteps + ColumnWarps - 1) / ColumnWarps;
    static constexpr int Arrays = Planes > 1 ? 3 : 2, Numbers = Q * Arrays;         // delta, cum, what it lacks

    // partial sums: rows, through c and through b (ColumnWarps, Q) each, columns (RowWarps, Q), the diagonal (Q), inner products and that of the skip
    // (PairWarps) each
    static constexpr int RowSums = 0, QuerySums = ColumnWarps * Q, KeySums = 2 * ColumnWarps * Q, ColumnSums = 3 * ColumnWarps * Q,
    Diagonal = ColumnSums + RowWarps * Q,
        InnerSums = Diagonal + Q, SkipSums = InnerSums + PairWarps, SumsSize = (SkipSums + PairWarps + 3) / 4 * 4;

    const DualArguments& a;
    i64 row, chunk, group, first, count, split_, valid, begin;
    int warp, lane, r, q, rowWarp, columnWarp;
    u16 *keys, *queries, *stages;
    Place keyPlace, queryPlace, stagePlace;
    float* numbers;
    Sum* sums;
    int* begins;

    __device__ __forceinline__ explicit Pairs(const DualArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        keys = shared;
        queries = keys + Key::Size;
        stages = queries + Key::Size;
        numbers = reinterpret_cast<float*>(stages + PairStages * StageSize);
        sums = reinterpret_cast<Sum*>(numbers + PairStages * Numbers);
        begins = reinterpret_cast<int*>(sums + SumsSize);
        keyPlace = place_of(keys);
        queryPlace = place_of(queries);
        stagePlace = place_of(stages);
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
        const i64 head = first + unit / Units, offset = unit % Units * Unit, left = valid - begin, inToken = a.inToken,
            gradientToken = a.gradientToken;
        u16* to = stages + stage_ * StageSize;
        const int width = P - offset < Unit ? static_cast<int>(P - offset) : Unit;
        const Element* in = static_cast<const Element*>(a.in) + row * a.inRow + begin * inToken + head * P + offset;
        stage<In, Q, Unit, PairThreads>(to, in, inToken, left, width, a.wide);
        const Element* gradient = static_cast<const Element*>(a.gradient) + row * a.gradientRow + begin * gradientToken + head * P + offset;
        stage<In, Q, Unit, PairThreads>(to + In::Size, gradient, gradientToken, left, width, a.wide);
        const i64 state = ((((row - a.firstRow) * a.chunks + chunk) * a.heads + head) * P + offset) * N;
        stage<State, Unit, NPad, PairThreads>(to + 2 * In::Size, static_cast<const Element*>(a.states) + state, N, width, N, a.wide);
        stage<State, Unit, NPad, PairThreads>(
            to + 2 * In::Size + State::Size, static_cast<const Element*>(a.backStates) + state, N, width, N, a.wide);
        const float* from = a.delta + ((row * a.heads + head) * a.chunks + chunk) * Q;
        const i64 cum = a.cum - a.delta, low = a.cumLow - a.delta;
        stage_numbers<Arrays, PairThreads>(
            numbers + stage_ * Numbers, threadIdx.x, [=](int array) { return from + (array == 0 ? 0 : array == 1 ? cum : low); });
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
        float dKey[States][2][4] = {}, dQuery[States][2][4] = {}, dSquare[Columns][2][4] = {}, products[Columns][2][4] = {},
            outer[Columns][2][4] = {};
        if (begin >= valid || count == 0) {
            finish(dKey, dQuery);
            for (i64 i = threadIdx.x; i < count; i += PairThreads) a.diagonal[(row * a.chunks + chunk) * a.heads + first + i] = 0;
            return;
        }
        {
            const i64 left = valid - begin;
            stage<Key, Q, NPad, PairThreads>(
                keys, static_cast<const Element*>(a.key) + row * a.keyRow + begin * a.keyToken + group * N, a.keyToken, left, N, a.wide);
            stage<Key, Q, NPad, PairThreads>(
                queries, static_cast<const Element*>(a.query) + row * a.queryRow + begin * a.queryToken + group * N, a.queryToken, left, N, a.wide);
            if constexpr (Documents) {
                const float* begins_ = reinterpret_cast<const float*>(a.begins) + (row * a.chunks + chunk) * Q;
                stage_numbers<1, PairThreads>(reinterpret_cast<float*>(begins), threadIdx.x, [=](int) { return begins_; });
            }
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
                add_product(products[c][0], products[c][1], left<Key, false>(queryPlace, 16 * rowWarp, 16 * k),
                    right<Key, false>(keyPlace, 16 * k, 16 * block));
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
            const u16 *states = stages + stage_ * StageSize + 2 * In::Size, *backStates = states + State::Size;
            const Place in = stagePlace + stage_ * StageSize, gradient = in + In::Size, state = gradient + In::Size, back = state + State::Size;
            const float *delta = numbers + stage_ * Numbers, *cum = delta + Q;
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
                fromEdge[half] = Documents && begins[t] >= 0 ? 0.f : decay(cum, t);
                toEdge[half] = Documents && t < edge ? 0.f : decay(cum, Q - 1, t);
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
            inner += inner_product(states, backStates);
            if (unit % Units == Units - 1) {                                        // all channels of the head are in
                const i64 head = first + unit / Units;
                finish_head(outer, products, dSquare, delta, cum);
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int t = 16 * rowWarp + r + 8 * half;
                    const float forQuery = quad_sum(throughQuery[half]) * fromEdge[half], forKey = quad_sum(throughKey[half]) * toEdge[half];
                    if (q == 0) {
                        sums[QuerySums + columnWarp * Q + t] = forQuery;
                        sums[KeySums + columnWarp * Q + t] = forKey;
                    }
                    throughQuery[half] = throughKey[half] = 0;
                }
                inner = lane_sum(inner, 32);
                if (lane == 0) sums[InnerSums + warp] = inner;
                inner = 0;
                __syncthreads();
                if (threadIdx.x < Q) {
                    const int t = threadIdx.x;
                    Sum rows = 0, columns = 0, query = 0, key = 0;
#pragma unroll
                    for (int i = 0; i < ColumnWarps; i++) { rows += sums[RowSums + i * Q + t]; query += sums[QuerySums + i * Q + t];
                        key += sums[KeySums + i * Q + t]; }
#pragma unroll
                    for (int i = 0; i < RowWarps; i++) columns += sums[ColumnSums + i * Q + t];
                    const i64 at = ((row * a.heads + head) * a.chunks + chunk) * Q + t;
                    a.suffix[at] = rows + query - delta[t] * columns;
                    a.prefix[at] = static_cast<float>(key);
                    a.direct[at] = static_cast<float>(columns + sums[Diagonal + t]);
                } else if (threadIdx.x == PairThreads - 1) {
                    Sum total = 0, dSkip = 0;
#pragma unroll
                    for (int i = 0; i < PairWarps; i++) { total += sums[InnerSums + i]; dSkip += sums[SkipSums + i]; }
                    const i64 at = (row * a.chunks + chunk) * a.heads + head;
                    a.inner[at] = edge >= 0 ? 0.f : static_cast<float>(total) * decay(cum, Q - 1);
                    a.diagonal[at] = static_cast<float>(dSkip);
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
                    put<Square>(stages, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q, dSquare[c][n][2 * half],
                        dSquare[c][n][2 * half + 1]);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            const Left straight = left<Square, false>(stagePlace, 16 * rowWarp, 16 * k),
                turned = left<Square, true>(stagePlace, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                if (k <= rowWarp) add_product(dQuery[s][0], dQuery[s][1], straight, right<Key, true>(keyPlace, 16 * k, 16 * block));
                if (k >= rowWarp) add_product(dKey[s][0], dKey[s][1], turned, right<Key, true>(queryPlace, 16 * k, 16 * block));
            }
        }
        finish(dKey, dQuery);
    }

    // 2^(sum up to t), or what is left at t of `from`
    __device__ __forceinline__ static float decay(const float* cum, int t) { return exp2_of<Element>(Planes > 1 ? cum[t] + cum[Q + t] : cum[t]); }

    __device__ __forceinline__ static float decay(const float* cum, int t, int from) {
        float exponent = cum[t] - cum[from];
        if constexpr (Planes > 1) exponent += cum[Q + t] - cum[Q + from];
        return exp2_of<Element>(exponent);
    }

    // this thread's part of the sum of S dS over a unit
    __device__ __forceinline__ static float inner_product(const u16* state, const u16* back) {
        float sum = 0;
        constexpr int PerRow = NPad / 8, All = Unit * PerRow;
#pragma unroll
        for (int pass = 0; pass < (All + PairThreads - 1) / PairThreads; pass++) {
            const int i = pass * PairThreads + threadIdx.x;
            if (All % PairThreads && i >= All) continue;
            const int at = i / PerRow * State::Stride + i % PerRow * 8;
            float left_[8], right_[8];
#pragma unroll
            for (int plane = Planes - 1; plane >= 0; plane--) {
                const Raw<bfloat16, 8> a = load_raw<bfloat16, 8>(state, plane * State::Plane + at),
                    b = load_raw<bfloat16, 8>(back, plane * State::Plane + at);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    left_[j] = plane == Planes - 1 ? a[j] : left_[j] + a[j];
                    right_[j] = plane == Planes - 1 ? b[j] : right_[j] + b[j];
                }
            }
#pragma unroll
            for (int j = 0; j < 8; j++) sum += left_[j] * right_[j];
        }
        return sum;
    }

    // from dy x^T of a head: the sums over rows and columns that lead to the time steps, and its part of the gradient of c b^T
    __device__ __forceinline__ void finish_head(
        float (&outer)[Columns][2][4], const float (&products)[Columns][2][4], float (&dSquare)[Columns][2][4],
        const float* delta, const float* cum) const {
        Sum rows[2] = {}, columns[4 * Columns] = {};
        float dSkip = 0;
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block > rowWarp) continue;
            const bool diagonal = block == rowWarp;
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const int column = 16 * block + 8 * n + 2 * q;
                const Two steps_ = pair_of(delta, column), others = pair_of(cum, column),
                    othersLow = Planes > 1 ? pair_of(cum + Q, column) : Two{0, 0};
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int to = 16 * rowWarp + r + 8 * half;
                    const float sum = cum[to], low = Planes > 1 ? cum[Q + to] : 0.f;
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int from = column + e;
                        float exponent = sum - (e ? others.y : others.x);
                        if constexpr (Planes > 1) exponent += low - (e ? othersLow.y : othersLow.x);
                        float& value_ = outer[c][n][2 * half + e];
                        float kept = value_ * exp2_of<Element>(exponent);
                        if constexpr (Documents) { if (from < begins[to]) kept = 0; }
                        if (diagonal && from > to) kept = 0;
                        float through = kept * products[c][n][2 * half + e];
                        const float step = e ? steps_.y : steps_.x;
                        dSquare[c][n][2 * half + e] += kept * step;
                        if (diagonal && from == to) {
                            sums[Diagonal + to] = through;
                            dSkip += value_;
                            through = 0;
                        }
                        rows[half] += static_cast<Sum>(through) * step;
                        columns[4 * c + 2 * n + e] += through;
                        value_ = 0;
                    }
                }
            }
        }
        // lane r of those that share q is left with column r of this thread's
        reduce_scatter<4 * Columns, 16, 4>(columns, lane);
        const int mine = 4 * Columns == 8 ? r : r / 2;
        const int block = columnWarp + mine / 4 * ColumnWarps;
        if (block < Blocks) sums[ColumnSums + rowWarp * Q + 16 * block + 8 * (mine / 2 % 2) + 2 * q + mine % 2] = columns[0];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const Sum total = lane_sum(rows[half], 4);
            if (q == 0) sums[RowSums + columnWarp * Q + 16 * rowWarp + r + 8 * half] = total;
        }
        dSkip = lane_sum(dSkip, 32);
        if (lane == 0) sums[SkipSums + warp] = dSkip;
    }
};

#if SSD_GROUPS
#include "StateSpaceDualGroups.cuh"
#endif

__device__ __forceinline__ void pairs(const DualArguments& a) {
#if SSD_GROUPS
    GroupPairs(a).run();
#else
    Pairs(a).run();
#endif
}
template <bool Reverse, bool Output> __device__ __forceinline__ void walk(const DualArguments& a) {
#if SSD_GROUPS
    GroupWalk<Reverse, Output>(a).run();
#else
    Walk<Reverse, Output>(a).run();
#endif
}

#if SSD_PART != 2
KERNEL(dual_steps, 256, DualArguments, steps)
KERNEL(dual_combine, 256, DualArguments, combine<false>)
KERNEL_OF(dual_states, WalkThreads, SSD_BLOCKS, DualArguments, walk<false, false>)
KERNEL_OF(dual_walk, WalkThreads, SSD_BLOCKS, DualArguments, walk<false, true>)
#endif
#if SSD_PART != 1
KERNEL(dual_step_gradients, 256, DualArguments, step_gradients)
KERNEL(dual_combine_back, 256, DualArguments, combine<true>)
KERNEL_OF(dual_states_back, WalkThreads, SSD_BLOCKS, DualArguments, walk<true, false>)
KERNEL_OF(dual_walk_back, WalkThreads, SSD_BLOCKS, DualArguments, walk<true, true>)
#if SSD_GROUPS
KERNEL_OF(dual_pairs, PairThreads, 1, DualArguments, pairs)
#else
KERNEL(dual_pairs, PairThreads, DualArguments, pairs)
#endif
#endif
