// What the kernels of the gated delta rule share: their arguments, tiles in shared memory, products of four warps, and the numbers of a chunk.
//
// The algorithm. A chunk has 64 tokens. c[i] is the sum of the decays (logarithms) from the chunk's start to token i, G[i, j] = exp(c[i] - c[j]) for
// tokens j <= i of one document and otherwise 0, gamma[i] = exp(c[i]) (0 after a document has started in the chunk), beta the strengths, S the K x V
// state before the chunk. Token i finds that its value lacks e[i] of what the state holds. The errors E follow from a unit triangular system
// (arXiv 2406.06484, section 3.2, with the decays of arXiv 2412.06464), here with the strengths in the columns, so that nothing is divided by them:
//
//   B[i, j] = (k[i] . k[j]) G[i, j] beta[j], j < i        T = (I + B)^-1
//   P[i, j] = (q[i] . k[j]) G[i, j] beta[j], j <= i       r[j] = G[63, j] beta[j]
//   X = V - gamma K S     E = T X     Y = gamma Q S + P E     S' = gamma[63] S + K^T r E
//
// and backward, from the gradients dY of the output and dS' of the state after the chunk:
//
//   dE = P^T dY + r K dS'    dV = T^T dE    dS = gamma[63] dS' + Q^T gamma dY - K^T gamma dV
//   dB = -dV E^T    dP = dY E^T    M = dB G beta (j < i)    N = dP G beta (j <= i)
//   dQ = N K + gamma dY S^T    dK = N^T Q + (M + M^T) K + r E dS'^T - gamma dV S^T
//
// With a decay for each of the K elements of a key (Kimi delta attention, arXiv 2510.26692; DELTA_CHANNELS), c[i] is a vector of K sums. G and gamma
// weigh the elements of a product one by one:
//
//   B[i, j] = sum of k[i] k[j] G[i, j] over K, times beta[j]      P[i, j] = sum of q[i] k[j] G[i, j] over K, times beta[j]
//   KR[i] = k[i] gamma[i]    QR[i] = q[i] gamma[i]    KW[j] = k[j] G[63, j] beta[j]
//   X = V - KR S     E = T X     Y = QR S + P E     S' = diag(gamma[63]) S + KW^T E
//   dE = P^T dY + KW dS'    dV = T^T dE    dS = diag(gamma[63]) dS' + QR^T dY - KR^T dV
//
// Linear attention with a decay per key channel (arXiv 2312.06635) has the same form without corrections (DELTA_CORRECTS 0): E = V and beta = 1, and
// there are no B, T, KR and dB.
//
// `channel_prepare` and `channel_pairs` take the place of `prepare` and `pairs` (channel_delta.cuh explains how they divide a chunk), and the scans
// read KR, QR and KW instead of keys and queries.
//
// Four kernels: `prepare` computes T and P of all chunks at once, `chunk_scan` passes the states from chunk to chunk, `chunk_scan_back` passes their
// gradients, and `pairs` computes the gradients of queries, keys, decays and strengths of all chunks at once. In the scans, each column of V is a
// separate recurrence: a group of four warps holds the transposed state of 64 columns in registers, 16 columns per warp. The result of one product is
// the left operand of the next without passing through shared memory.
//
// In the fragments of tensor cores, `quad` is the number of four neighbouring lanes (lane / 4) and `quad_lane` the place in them (lane % 4).
//
// Tiles are 64 x 64 bfloat16 in shared memory, swizzled as products of four warps expect them.
#pragma once
#include "tensor_cores.cuh"

#ifndef DELTA_K
#define DELTA_K 128             // elements of a key, a multiple of 8 up to 128
#define DELTA_V 128             // elements of a value, likewise
#define DELTA_GROUPED 0         // whether four warps multiply together (compute capability 9.0)
#define DELTA_SLICES 1          // groups of four warps of a block of a scan, each with 64 columns of V
#define DELTA_CHANNELS 0        // whether each element of a key has a separate decay
#define DELTA_CORRECTS 1        // whether tokens write what their values lack of the state, or their values (only with DELTA_CHANNELS)
#endif

constexpr int Chunk = 64, KeySize = DELTA_K, ValueSize = DELTA_V, KeyTiles = (KeySize + 63) / 64, ValueTiles = (ValueSize + 63) / 64;
constexpr bool Channels = DELTA_CHANNELS, Corrects = DELTA_CORRECTS;
static_assert(Corrects || Channels, "linear attention has a decay per key channel");
constexpr int Tile = SwizzledTile, Slices = DELTA_SLICES, Pitch = 68;

// a tensor (rows, tokens, heads, elements) of bfloat16 whose last dimension is dense and whose pieces of 16 bytes are aligned; strides in elements
struct HeadRows {
    u16* base;
    i64 rowStride, tokenStride, headStride;

    __device__ __forceinline__ u16* at(i64 row, i64 token, i64 head) const {
        return base + row * rowStride + token * tokenStride + head * headStride;
    }
};

// a tensor (rows, tokens, heads) of either type, or (rows, tokens, heads, elements) with a dense last dimension
struct HeadNumbers {
    Typed numbers;
    i64 rowStride, tokenStride, headStride;

    __device__ __forceinline__ float at(i64 row, i64 token, i64 head, i64 element = 0) const {
        return numbers[row * rowStride + token * tokenStride + head * headStride + element];
    }
};

struct DeltaArguments {
    HeadRows query, key, value, output, error, gradient, dQuery, dKey, dValue;
    HeadNumbers decay, strength;
    const unsigned char* starts;    // (rows, length), or null
    const i64* lengths;             // (rows), or null
    const float *initial, *finalGradient;
    float *finalState, *initialGradient;
    u16 *solved, *scores;           // T and P: (rows, heads, chunks, 64, 64)
    float* numbers;                 // as ChunkNumbers has them: (rows, heads, chunks, 6 * 64)
    u16 *states, *stateGradients;   // S and dS', transposed: (rows, heads, chunks, V, K)
    float *dDecay, *dStrength;      // (rows, length, heads), or dDecay (rows, length, heads, K)
    // with a decay per key channel: KR, QR and KW, (rows, heads, chunks, 64, K), and gamma[63], (rows, heads, chunks, K)
    u16 *readingKeys, *readingQueries, *writingKeys;
    float* remains;
    i64 length, heads, groups, chunks;
};
static_assert(sizeof(DeltaArguments) == 536, "as GatedDeltaArguments.cs has it");

__device__ __forceinline__ i64 minimum(i64 x, i64 y) { return x < y ? x : y; }

// the tokens of a row that are not padding
__device__ __forceinline__ i64 row_length(const DeltaArguments& args, i64 row) {
    return args.lengths ? minimum(args.lengths[row], args.length) : args.length;
}

__device__ __forceinline__ u16* first_tile(u16* shared) {
#ifdef HYBRID_EMULATION
    return reinterpret_cast<u16*>((reinterpret_cast<uintptr_t>(shared) + 1023) / 1024 * 1024);
#else
    return shared + (1024 - place_of(shared).address % 1024) % 1024 / 2;
#endif
}

// Asks for `valid` rows of `columns` elements (a multiple of 8, up to 64) as a tile; the rest is zeros. Eight lanes take eight rows, so that they
// write to different banks; the rows of a thread are a multiple of 8 apart, so that its pieces are all swizzled alike.
template <int Threads> __device__ __forceinline__ void load_tile(Place tile, const u16* from, i64 stride, i64 valid, int columns, int thread) {
    static_assert(Threads % 64 == 0, "eight rows of eight pieces");
    const int first = thread % 8 + thread / 64 * 8, piece = thread / 8 % 8;
    const int rows = valid < Chunk ? static_cast<int>(valid) : Chunk, end = 8 * piece < columns ? rows : 0;
    const u16* at = from + first * stride + 8 * piece;
    Place to = tile + swizzled(first, 8 * piece);
#pragma unroll
    for (int row = 0; row < Chunk; row += Threads / 8) {
        copy_async_16(to, at, first + row < end);
        at += Threads / 8 * stride;
        to = to + Threads / 8 * 64;
    }
}

// loads 16 columns of the warp's 16 rows from `row` on, as a left operand
__device__ __forceinline__ void load_left(unsigned (&words)[4], Place tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_blocks<false>(words, tile + swizzled(row + lane % 16, column + lane / 16 * 8));
}

// does the same with the transposed tile: 16 of its columns from `row` on, 16 of its rows from `column` on
__device__ __forceinline__ void load_left_transposed(unsigned (&words)[4], Place tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_blocks<true>(words, tile + swizzled(column + lane % 8 + lane / 16 * 8, row + lane / 8 % 2 * 8));
}

// Adds left right^T over 16 columns of the tile `right` from `start` on, or, with Rowwise, left right over 16 of its rows. `left` is the 64 x 16
// part of four warps, in registers. On compute capability 9.0, call it between `open` and `close`.
template <bool Rowwise> __device__ __forceinline__ void accumulate(float (&sums)[32], const unsigned (&left)[4], Place tile, int start) {
#if DELTA_GROUPED
    start_product<Rowwise>(sums, left, operand(tile, Rowwise ? start : 0, Rowwise ? 0 : start), true);
#else
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < 4; n++) {
        unsigned right[4];
        if constexpr (Rowwise) load_blocks<true>(right, tile + swizzled(start + lane % 16, 16 * n + lane / 16 * 8));
        else load_blocks<false>(right, tile + swizzled(16 * n + lane % 8 + lane / 16 * 8, start + lane / 8 % 2 * 8));
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float (&sums_of_8)[4] = reinterpret_cast<float (&)[4]>(sums[8 * n + 4 * half]);
            multiply_add(sums_of_8, left, right[2 * half], right[2 * half + 1]);
        }
    }
#endif
}

__device__ __forceinline__ void open() {
#if DELTA_GROUPED
    open_products();
#endif
}

__device__ __forceinline__ void close() {
#if DELTA_GROUPED
    close_products();
#endif
}

template <int Pending> __device__ __forceinline__ void wait_products() {
#if DELTA_GROUPED
    wait_for_products<Pending>();
#endif
}

__device__ __forceinline__ void settled(float (&sums)[32]) {
#if DELTA_GROUPED
    settle(sums);
#endif
}

__device__ __forceinline__ void clear(float (&sums)[32]) {
#pragma unroll
    for (int i = 0; i < 32; i++) sums[i] = 0;
}

// 64 x 64 sums as left operands of 16 columns each
__device__ __forceinline__ void as_left(unsigned (&operands)[4][4], const float (&sums)[32]) {
#pragma unroll
    for (int i = 0; i < 16; i++) operands[i / 4][i % 4] = round_to_bfloat16_pair(sums[2 * i], sums[2 * i + 1]);
}

// multiplies each column of the sums by its scale
__device__ __forceinline__ void scale_columns(float (&sums)[32], const float* scales) {
    const int quad_lane = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        const Two scale = *reinterpret_cast<const Two*>(scales + 8 * n + 2 * quad_lane);
        sums[4 * n] *= scale.x;
        sums[4 * n + 1] *= scale.y;
        sums[4 * n + 2] *= scale.x;
        sums[4 * n + 3] *= scale.y;
    }
}

// Stores what a quad of lanes holds of one row: words of 8 columns from `to` on and of the 8 columns after them, each lane 8 bytes.
__device__ __forceinline__ void store_row(u16* to, unsigned first, unsigned second, bool exists) {
    const int quad_lane = threadIdx.x % 4;
    const bool odd = quad_lane & 1;
    const unsigned other = as_bits(from_lane_xor(as_float(odd ? first : second), 1));
    Word<8> both;
    both.words[0] = odd ? other : first;
    both.words[1] = odd ? second : other;
    if (exists) *reinterpret_cast<Word<8>*>(to + (odd ? 8 + 2 * (quad_lane - 1) : 2 * quad_lane)) = both;
}

// Writes the 64 tokens of a warp's 16 columns, which left operands hold transposed: rows of `to` are tokens, `columns` those that exist of the 16.
__device__ __forceinline__ void store_transposed(u16* to, i64 stride, i64 tokens, int columns, const unsigned (&operands)[4][4]) {
    const int quad = threadIdx.x % 32 / 4;
    // even lanes store of the first 8 columns, odd ones of the second
    const int end = (threadIdx.x & 1 ? 8 : 0) < columns ? static_cast<int>(minimum(tokens, Chunk)) : 0;
    u16* at = to + quad * stride;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        store_row(at, transpose_block(operands[n / 2][n % 2 * 2]), transpose_block(operands[n / 2][n % 2 * 2 + 1]), 8 * n + quad < end);
        at += 8 * stride;
    }
}

// returns the sum over the lanes up to this one, or from this one on; `total` is the sum over all
template <bool FromEnd, class T> __device__ __forceinline__ T scan(T value, T& total) {
    const int lane = threadIdx.x % 32;
    total = value;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        const T other = from_lane_xor(total, distance);
        if ((lane & distance) == (FromEnd ? 0 : distance)) value += other;
        total += other;
    }
    return value;
}

// ---- the numbers of a chunk ----

// in shared memory, 64 of each
struct ChunkNumbers {
    float *high, *low;              // c in units of log 2, as a sum of two
    float *gamma, *r, *beta;
    float* document;                // how many documents have started in the chunk
    double* totals;                 // 2: of the first half, of decays and of documents

    static constexpr int Size = 6 * Chunk, Floats = Size + 4;

    __device__ __forceinline__ explicit ChunkNumbers(float* at) : high(at), low(at + Chunk), gamma(at + 2 * Chunk), r(at + 3 * Chunk),
        beta(at + 4 * Chunk), document(at + 5 * Chunk), totals(reinterpret_cast<double*>(at + Size)) {}

    // G[i, j], for j <= i
    __device__ __forceinline__ float between(int i, int j) const {
        return document[i] == document[j] ? exp2_approximate((high[i] - high[j]) + (low[i] - low[j])) : 0.f;
    }
};

// computes the numbers of a chunk; called by all threads of a block, of which two warps do the work
__device__ __forceinline__ void chunk_numbers(const ChunkNumbers& numbers, const DeltaArguments& args, i64 row, i64 head, i64 begin, i64 end) {
    const int thread = threadIdx.x;
    const i64 token = begin + thread;
    double sum = 0, total;
    float documents = 0, started, strength = 0;
    if (thread < Chunk) {
        float decay = 0;
        if (token < end) {
            decay = args.decay.at(row, token, head);
            strength = args.strength.at(row, token, head);
            if (args.starts) documents = args.starts[row * args.length + token];
        }
        // a smaller decay leaves nothing either, and the difference of two infinities is no number
        sum = scan<false, double>(decay < -1e5f ? -1e5f : decay, total);
        documents = scan<false>(documents, started);
    }
    __syncthreads();
    if (thread == 0) {
        numbers.totals[0] = total;
        numbers.totals[1] = started;
    }
    __syncthreads();
    if (thread < Chunk) {
        if (thread >= Chunk / 2) {
            sum += numbers.totals[0];
            documents += static_cast<float>(numbers.totals[1]);
        }
        sum *= 1.4426950408889634;
        const float high = static_cast<float>(sum);
        numbers.high[thread] = high;
        numbers.low[thread] = static_cast<float>(sum - high);
        numbers.document[thread] = documents;
        numbers.beta[thread] = strength;
        numbers.gamma[thread] = documents > 0 ? 0.f : exp2_approximate(high);
    }
    __syncthreads();
    if (thread < Chunk) numbers.r[thread] = numbers.between(Chunk - 1, thread) * strength;
}
