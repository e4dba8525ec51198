// The gated delta rule or linear attention with a decay per key channel: the gradients of queries, keys, decays and strengths of all chunks at once
// (gated_delta.cuh has the formulas of the scans, channel_delta.cuh explains the levels).
//
// Let N[i, j] = dY[i] . E[j] for tokens j <= i of one document, and M[i, j] = -dV[i] . E[j] for j < i. They have no strengths: row i of a pair takes
// a key with its strength, kb[j] = k[j] beta[j], and column j takes its strength at the end. Each element of a key separately:
//
//   rn[i] = sum of N[i, j] G[i, j] kb[j] over j            rm[i] = sum of M[i, j] G[i, j] kb[j] over j
//   u[j] = sum of G[i, j] (N[i, j] q[i] + M[i, j] k[i]) over i, + G[63, j] (E dS'^T)[j]
//   dq[i] = rn[i] + gamma[i] (dY S^T)[i]
//   dk[i] = rm[i] - gamma[i] (dV S^T)[i] + beta[i] u[i]    dbeta[j] = sum of k[j] u[j] over the elements
//   dc[i] = q[i] dq[i] + k[i] (rm[i] - gamma[i] (dV S^T)[i]) - kb[i] u[i]
//   dc[63] also: gamma[63] sum of S dS' over V, + sum of kb[j] G[63, j] (E dS'^T)[j] over j
//
// The gradient of a decay at token t is the sum of dc over i >= t. Pairs after t cancel in it, and do so exactly, because dc takes the rounded
// factors of the products at each level: it adds and subtracts the same numbers.
//
// Without corrections there is no M, and no product with dV.
//
// A block has a group of four warps for each 64 elements of a key, and takes a chunk of one key head. Each thread owns rows and columns of the
// gradients as in the fragments of tensor cores, also in the sums over pairs within 8 tokens.
// Registers: 64 x 64 sums of dQ, dK and dc, and of one or two products under way (32 a thread each).
// Shared memory: queries, keys, dY, E, dV, S and dS' of one head, N and M: 20 tiles for heads of 128; c in float32. Decayed queries and keys of a
// level, and then dc, take the place of dY, E, dV, S and dS'.
// What it must do, 1 x 8192 tokens, 32 heads of 128: 1.0 GB, 0.24 ms; 0.6 billion exponentials, 0.16 ms.
#include "channel_delta.cuh"
#include "gated_delta_pairs.cuh"

constexpr int KeyWidth = 64 * KeyTiles;

struct ChannelPairs : PairTiles {
    ChannelNumbers numbers;
    // sums over the elements of each group, (Groups, 64); over tokens of each warp or over values of each quarter of the threads, (4, K)
    float *strengths, *written, *inner;
    int quad, quad_lane;

    __device__ __forceinline__ ChannelPairs(const DeltaArguments& arguments, u16* shared) : PairTiles(arguments, shared), numbers(floats()),
        strengths(floats() + ChannelNumbers::Floats), written(strengths + Groups * Chunk), inner(written + 4 * KeyWidth),
        quad(lane / 4), quad_lane(lane % 4) {}

    // two tiles of decayed queries and keys for each 64 elements: kb of columns and q of rows, then k of rows
    __device__ __forceinline__ u16* level_tiles() const { return tiles + 2 * KeyTiles * Tile; }

    // dc, with DecayPitch
    __device__ __forceinline__ float* decay_gradients() const { return reinterpret_cast<float*>(level_tiles()); }

    // this thread's rows, and the first of its two elements in each 8
    __device__ __forceinline__ int token(int half) const { return 16 * warp + quad + 8 * half; }
    __device__ __forceinline__ int channel(int n) const { return 64 * warp_group + 8 * n + 2 * quad_lane; }

    __device__ __forceinline__ Two queries_at(int token, int channel) const { return two_of(word_at(tiles, token, channel)); }
    __device__ __forceinline__ Two keys_at(int token, int channel) const { return two_of(word_at(tiles + KeyTiles * Tile, token, channel)); }

    static __device__ __forceinline__ Two two_of(unsigned word) { return {first_of(word), second_of(word)}; }
};

static_assert(2 * KeyTiles <= HeadTiles && DecayFloats * 4 <= HeadTiles * Tile * 2, "what takes the place of the tiles of a head");

// what a thread adds up: its rows and columns of dQ, dK and dc, and its part of the gradients of the strengths of its two rows
struct ChannelSums {
    float query[32], key[32], decay[32], strength[2];
};

// computes N (which 0) or M (1) of a head into shared memory
__device__ __forceinline__ void mask_pairs(const ChannelPairs& block, int which) {
    float sums[32];
    clear(sums);
    product<ValueTiles>(sums, which ? block.values : block.gradients, block.errors, block.warp);
    u16* tile = which ? block.matrix_m : block.matrix_n;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = block.token(half);
            float pair[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = 8 * n + 2 * block.quad_lane + e;
                const float sum = sums[4 * n + 2 * half + e];
                pair[e] = j + which <= i && block.numbers.same_document(i, j) ? (which ? -sum : sum) : 0.f;
            }
            *reinterpret_cast<unsigned*>(tile + swizzled(i, 8 * n) + 2 * block.quad_lane) = round_to_bfloat16_pair(pair[0], pair[1]);
        }
}

// adds a sum of columns, u, of one element of a token
__device__ __forceinline__ void add_column(ChannelSums& sums, int at, int half, float u, float key, float beta) {
    sums.key[at] += beta * u;
    sums.strength[half] += key * u;
}

// Computes left times a transposed state: dY S^T (which 0), dV S^T (1) or E dS'^T (2). Adds it to the gradients.
__device__ __forceinline__ void add_through(const ChannelPairs& block, ChannelSums& gradients, Place left, Place state, int which) {
    float sums[32], written[16] = {};
    clear(sums);
    product_rowwise<false, ValueTiles>(sums, left, state + block.warp_group * Tile, KeyTiles * Tile, block.warp);
    const ChannelNumbers& numbers = block.numbers;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = block.token(half);
        const float counts = (which == 2 ? numbers.writes_state(i) : numbers.reads_state(i)) ? 1.f : 0.f;
        const float beta = numbers.beta[i];
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const int channel = block.channel(n);
            const Two c = numbers.decays(i, channel), row = which ? block.keys_at(i, channel) : block.queries_at(i, channel);
            const Two decay = between(which == 2 ? numbers.decays(Chunk - 1, channel) : c, which == 2 ? c : Two{0, 0});
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int at = 4 * n + 2 * half + e;
                const float element = e ? row.y : row.x, sum = sums[at] * (counts * (e ? decay.y : decay.x));
                if (which == 2) {
                    const float change = element * beta * sum;
                    add_column(gradients, at, half, sum, element, beta);
                    gradients.decay[at] -= change;
                    written[2 * n + e] += change;
                } else {
                    (which ? gradients.key : gradients.query)[at] += which ? -sum : sum;
                    gradients.decay[at] += element * (which ? -sum : sum);
                }
            }
        }
    }
    if (which == 2) {
        reduce_scatter<16, 16, 4>(written, block.lane);
        const int n = (block.lane & 16 ? 4 : 0) + (block.lane & 8 ? 2 : 0) + (block.lane & 4 ? 1 : 0);
        for (int e = 0; e < 2; e++) block.written[block.warp * KeyWidth + block.channel(n) + e] = written[e];
    }
}

// sums the products of the state before the chunk and the gradient of the state after it over the values, a quarter of them for each element
__device__ __forceinline__ void multiply_states(const ChannelPairs& block) {
    const int channel = threadIdx.x % (KeyWidth / 2) * 2, quarter = threadIdx.x / (KeyWidth / 2);
    const u16 *states = block.tiles + (2 * KeyTiles + 3 * ValueTiles) * Tile, *state_gradients = states + ValueTiles * KeyTiles * Tile;
    float x = 0, y = 0;
    for (int value = quarter * 16 * ValueTiles; value < (quarter + 1) * 16 * ValueTiles; value++) {
        const int at = value / 64 * KeyTiles * Tile + in_tiles(value % 64, channel);
        const unsigned state = *reinterpret_cast<const unsigned*>(states + at), gradient = *reinterpret_cast<const unsigned*>(state_gradients + at);
        x += first_of(state) * first_of(gradient);
        y += second_of(state) * second_of(gradient);
    }
    block.inner[quarter * KeyWidth + channel] = x;
    block.inner[quarter * KeyWidth + channel + 1] = y;
}

// writes the decayed queries and keys of a level, each group of warps its own 64 elements
__device__ __forceinline__ void decay_level(const ChannelPairs& block, int half) {
    u16 *columns_and_queries = block.level_tiles() + block.warp_group * Tile, *row_keys = columns_and_queries + KeyTiles * Tile;
    const u16 *queries = block.tiles + block.warp_group * Tile, *keys = queries + KeyTiles * Tile;
    const ChannelNumbers& numbers = block.numbers;
    for (int i = threadIdx.x % 128; i < Tile / 8; i += 128) {
        const int token = i / 8, column = i % 8 * 8, at = swizzled(token, column);
        const bool is_row = token & half;
        const float sign = is_row ? 1.f : -1.f;
        const float* c = numbers.c + 64 * block.warp_group + column;
        const float *first = c + reference_of(token, half) * DecayPitch, *second = c + token * DecayPitch;
        const auto key = load_raw<bfloat16, 8>(keys, at), query = load_raw<bfloat16, 8>(queries, at);
        const float beta = numbers.beta[token];
        float left[8], right[8];
#pragma unroll
        for (int e = 0; e < 8; e++) {
            const float decay = exp2_approximate(sign * (second[e] - first[e])), column = key[e] * beta;
            left[e] = (is_row ? query[e] : column) * decay;
            right[e] = key[e] * decay;                         // of columns, nothing reads it
        }
        store<bfloat16, 8>(columns_and_queries, at, left);
        store<bfloat16, 8>(row_keys, at, right);
    }
}

// Adds left right to the sums for the warp's 16 rows and this group's 64 columns. `left` is 16 x 16, `right` 16 rows of a tile from `start` on.
__device__ __forceinline__ void multiply_block(float (&sums)[32], const unsigned (&left)[4], Place tile, int start) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < 4; n++) {
        unsigned right[4];
        load_blocks<true>(right, tile + swizzled(start + lane % 16, 16 * n + lane / 16 * 8));
        multiply_add(sums, 8 * n, left, right[0], right[1]);
        multiply_add(sums, 8 * n + 4, left, right[2], right[3]);
    }
}

// Adds the products of a level for a row of this thread, which is a row or a column of the level's pairs.
template <bool IsRow, int Half> __device__ __forceinline__ void add_level_row(
    const ChannelPairs& block, ChannelSums& gradients, const float (&rn)[32], const float (&rm)[32], int half) {
    const ChannelNumbers& numbers = block.numbers;
    const u16 *left_tile = block.level_tiles() + block.warp_group * Tile, *right_tile = left_tile + KeyTiles * Tile;
    const int i = block.token(half), reference = reference_of(i, Half);
    const float beta = numbers.beta[i];
#pragma unroll
    for (int n = 0; n < 8; n++) {
        const int channel = block.channel(n), place = swizzled(i, 8 * n) + 2 * block.quad_lane;
        const Two decay = between(numbers.decays(i, channel), numbers.decays(reference, channel), IsRow ? 1 : -1);
        const Two left = ChannelPairs::two_of(*reinterpret_cast<const unsigned*>(left_tile + place));
        const Two right = IsRow ? ChannelPairs::two_of(*reinterpret_cast<const unsigned*>(right_tile + place)) : block.keys_at(i, channel);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int at = 4 * n + 2 * half + e;
            const float scale = e ? decay.y : decay.x, factor = e ? left.y : left.x, key = e ? right.y : right.x;
            if constexpr (IsRow) {
                gradients.query[at] += scale * rn[at];
                gradients.decay[at] += factor * rn[at];
                if constexpr (Corrects) {
                    gradients.key[at] += scale * rm[at];
                    gradients.decay[at] += key * rm[at];
                }
            } else {
                add_column(gradients, at, half, scale * rn[at], key, beta);
                gradients.decay[at] -= factor * rn[at];
            }
        }
    }
}

// Adds the pairs of a level. In `rn`, rows have the sums of N, and columns those of both N and M; `rm` has those of M for rows.
template <int Half> __device__ __forceinline__ void add_level(const ChannelPairs& block, ChannelSums& gradients) {
    constexpr int Blocks = Half < 16 ? 1 : Half / 16;
    constexpr bool Within = Half == 8;               // both rows and columns are in the warp's 16 tokens
    const Place factors = place_of(block.level_tiles() + block.warp_group * Tile), row_keys = factors + KeyTiles * Tile;
    const int rows = 16 * block.warp;
    decay_level(block, Half);
    __syncthreads();
    float rn[32], rm[32];
    clear(rn);
    clear(rm);
    const bool warp_has_rows = Within || rows & Half, warp_has_columns = Within || !(rows & Half);
    for (int k = 0; k < Blocks; k++) {
        const int other = Within ? rows : (rows & Half ? reference_of(rows, Half) - Half : reference_of(rows, Half)) + 16 * k;
        unsigned n[4], m[4];
        if (warp_has_rows) {
            load_left(n, place_of(block.matrix_n), rows, other);
            if constexpr (Corrects) load_left(m, place_of(block.matrix_m), rows, other);
            if constexpr (Within) n[0] = n[2] = n[3] = m[0] = m[2] = m[3] = 0;
            multiply_block(rn, n, factors, other);
            if constexpr (Corrects) multiply_block(rm, m, factors, other);
        }
        if (warp_has_columns) {
            load_left_transposed(n, place_of(block.matrix_n), rows, other);
            if constexpr (Corrects) load_left_transposed(m, place_of(block.matrix_m), rows, other);
            if constexpr (Within) n[0] = n[1] = n[3] = m[0] = m[1] = m[3] = 0;
            multiply_block(rn, n, factors, other);
            if constexpr (Corrects) multiply_block(rn, m, row_keys, other);
        }
    }
    if constexpr (Within) {
        add_level_row<false, Half>(block, gradients, rn, rm, 0);
        add_level_row<true, Half>(block, gradients, rn, rm, 1);
    } else if (warp_has_rows) {
#pragma unroll
        for (int half = 0; half < 2; half++) add_level_row<true, Half>(block, gradients, rn, rm, half);
    } else {
#pragma unroll
        for (int half = 0; half < 2; half++) add_level_row<false, Half>(block, gradients, rn, rm, half);
    }
    __syncthreads();
}

__device__ __forceinline__ float element(const u16* tile, int row, int column) {
    return as_float(static_cast<unsigned>(tile[swizzled(row, column)]) << 16);
}

// adds the pairs within 8 tokens for a row of this thread: first what it receives as row i of pairs, then as column j
__device__ __forceinline__ void add_within(const ChannelPairs& block, ChannelSums& gradients, int half) {
    const ChannelNumbers& numbers = block.numbers;
    const int own = block.token(half), first = own / 8 * 8;
    float rn[16] = {}, rm[16] = {}, u[16] = {};
    Two c[8];
#pragma unroll
    for (int n = 0; n < 8; n++) c[n] = numbers.decays(own, block.channel(n));
    for (int other = first; other < first + 8; other++) {
        // pairs (own, other) and (other, own): N and M are 0 where there is no such pair. The exponent must not be above 0.
        const float sign = other <= own ? 1.f : -1.f;
        const float row_n = element(block.matrix_n, own, other), column_n = element(block.matrix_n, other, own);
        const float row_m = Corrects ? element(block.matrix_m, own, other) : 0.f, column_m = Corrects ? element(block.matrix_m, other, own) : 0.f;
        const float beta = numbers.beta[other];
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const int channel = block.channel(n);
            const Two decay = between(c[n], numbers.decays(other, channel), sign);
            const Two key = block.keys_at(other, channel), query = block.queries_at(other, channel);
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const float k = e ? key.y : key.x, d = e ? decay.y : decay.x, decayed = d * (k * beta);
                rn[2 * n + e] += row_n * decayed;
                if constexpr (Corrects) rm[2 * n + e] += row_m * decayed;
                u[2 * n + e] += d * (column_n * (e ? query.y : query.x) + (Corrects ? column_m * k : 0.f));
            }
        }
    }
    const float beta = numbers.beta[own];
#pragma unroll
    for (int n = 0; n < 8; n++) {
        const Two key = block.keys_at(own, block.channel(n)), query = block.queries_at(own, block.channel(n));
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int at = 4 * n + 2 * half + e;
            const float k = e ? key.y : key.x, q = e ? query.y : query.x, row_n = rn[2 * n + e], row_m = rm[2 * n + e], column = u[2 * n + e];
            gradients.query[at] += row_n;
            gradients.key[at] += row_m;
            add_column(gradients, at, half, column, k, beta);
            gradients.decay[at] += q * row_n + k * row_m - k * beta * column;
        }
    }
}

// computes the gradients of decays and strengths of a head; each thread sums half of the tokens of an element
__device__ __forceinline__ void finish_head(const ChannelPairs& block, const ChannelSums& gradients, i64 head) {
    float* changes = block.decay_gradients();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = block.token(half);
#pragma unroll
        for (int n = 0; n < 8; n++)
            *reinterpret_cast<Two*>(changes + i * DecayPitch + block.channel(n)) = {gradients.decay[4 * n + 2 * half],
                gradients.decay[4 * n + 2 * half + 1]};
        const float strength = lane_sum(gradients.strength[half], 4);
        if (block.quad_lane == 0) block.strengths[block.warp_group * Chunk + i] = strength;
    }
    __syncthreads();
    const int channel = threadIdx.x % KeyWidth, first = threadIdx.x / KeyWidth * (Chunk / 2);
    float written = 0, inner = 0, sum = 0;
#pragma unroll
    for (int w = 0; w < 4; w++) {
        written += block.written[w * KeyWidth + channel];
        inner += block.inner[w * KeyWidth + channel];
    }
    const ChannelNumbers& numbers = block.numbers;
    const float remains = numbers.reads_state(Chunk - 1) ? exp2_approximate(numbers.c[(Chunk - 1) * DecayPitch + channel]) : 0.f;
    if (first == 0)
        for (int i = Chunk / 2; i < Chunk; i++) sum += changes[i * DecayPitch + channel];
    sum += written + remains * inner;
    const i64 at = ((block.row * block.args.length + block.begin) * block.args.heads + head) * KeySize + channel;
    for (int i = first + Chunk / 2 - 1; i >= first; i--) {
        sum += changes[i * DecayPitch + channel];
        const i64 token = block.begin + i;
        if (channel < KeySize && token < block.args.length) block.args.dDecay[at + i * block.args.heads * KeySize] = token < block.end ? sum : 0.f;
    }
    const i64 token = block.begin + threadIdx.x;
    if (Corrects && threadIdx.x < Chunk && token < block.args.length) {
        float strength = 0;
#pragma unroll
        for (int g = 0; g < Groups; g++) strength += block.strengths[g * Chunk + threadIdx.x];
        block.args.dStrength[(block.row * block.args.length + token) * block.args.heads + head] = token < block.end ? strength : 0.f;
    }
}

__device__ __forceinline__ void add_head(const ChannelPairs& block, ChannelSums& gradients) {
    clear(gradients.decay);
    gradients.strength[0] = gradients.strength[1] = 0;
    for (int which = block.warp_group; which < (Corrects ? 2 : 1); which += Groups) mask_pairs(block, which);
    add_through(block, gradients, block.gradients, block.states, 0);
    if constexpr (Corrects) add_through(block, gradients, block.values, block.states, 1);
    add_through(block, gradients, block.errors, block.state_gradients, 2);
    multiply_states(block);
    __syncthreads();
    add_level<32>(block, gradients);
    add_level<16>(block, gradients);
    add_level<8>(block, gradients);
#pragma unroll
    for (int half = 0; half < 2; half++) add_within(block, gradients, half);
}

__device__ __forceinline__ void channel_pairs(const DeltaArguments& args) {
    DYNAMIC_SHARED(u16, shared);
    const ChannelPairs block(args, shared);
    ChannelSums gradients;
    clear(gradients.query);
    clear(gradients.key);
    block.load_keys();
    const i64 heads_per_group = args.heads / args.groups;
    for (i64 head = block.group * heads_per_group; head < (block.group + 1) * heads_per_group; head++) {
        block.load_head(head);
        block.load_states(head);
        channel_numbers<Threads>(block.numbers, args, block.row, head, block.begin, block.end);
        copy_wait<0>();
        publish();
        __syncthreads();
        add_head(block, gradients);
        finish_head(block, gradients, head);
        __syncthreads();
    }
    store_gradient(args.dQuery, gradients.query, block);
    store_gradient(args.dKey, gradients.key, block);
}

KERNEL_OF(delta_channel_pairs, 128 * ((DELTA_K + 63) / 64), 1, DeltaArguments, channel_pairs)
