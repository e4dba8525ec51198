// The gated delta rule: the gradients of queries, keys, decays and strengths of all chunks at once (gated_delta.cuh has the formulas).
//
// A block has a group of four warps for each 64 elements of a key, and takes a chunk of one key head. For each of its value heads the groups first
// compute N and M, one each, and leave them in shared memory; then each adds its 64 columns of dQ and dK, which stay in registers until the last
// head.
// The gradient of a decay at token t is the sum over i >= t of the gradients of c[i]. Those of a pair are added to c[i] and subtracted from c[j] as
// the same number, so that what cancels in the sum cancels exactly.
// Registers: 64 x 64 sums of dQ, of dK and of the product under way (32 a thread each).
// Shared memory: queries, keys, dY, E, dV, S and dS' of one head, N and M: 20 tiles for heads of 128.
// What it must do, 1 x 8192 tokens, 16 key heads and 32 value heads of 128: 56 GFLOP, 0.071 ms at 790 TFLOP/s; 0.60 GB, 0.14 ms.
#include "gated_delta.cuh"

constexpr int Groups = KeyTiles, Threads = 128 * Groups;

struct Pairs {
    const DeltaArguments& a;
    u16* tiles;
    Place queries, keys, gradients, errors, values, states, state_gradients;
    u16 *weighed, *solved;                           // N and M
    float *rows, *columns, *dots, *inner;            // 2 x 64; 2 x 4 x 64; 3 x Groups x 64; 12
    ChunkNumbers numbers;
    i64 chunk, group, row, begin, end;
    int warp, lane, own;                             // warp of four; the group of warps

    static constexpr int Floats = (2 + 8 + 3 * Groups) * Chunk + 12;

    __device__ __forceinline__ Pairs(const DeltaArguments& arguments, u16* shared) : a(arguments), tiles(first_tile(shared)),
        numbers(reinterpret_cast<float*>(tiles + (2 * KeyTiles + 3 * ValueTiles + 2 * ValueTiles * KeyTiles + 2) * Tile) + Floats) {
        queries = place_of(tiles);
        keys = queries + KeyTiles * Tile;
        gradients = keys + KeyTiles * Tile;
        errors = gradients + ValueTiles * Tile;
        values = errors + ValueTiles * Tile;
        states = values + ValueTiles * Tile;
        state_gradients = states + ValueTiles * KeyTiles * Tile;
        weighed = tiles + (2 * KeyTiles + 3 * ValueTiles + 2 * ValueTiles * KeyTiles) * Tile;
        solved = weighed + Tile;
        rows = reinterpret_cast<float*>(solved + Tile);
        columns = rows + 2 * Chunk;
        dots = columns + 8 * Chunk;
        inner = dots + 3 * Groups * Chunk;
        chunk = blockIdx.x;
        group = blockIdx.y;
        row = blockIdx.z;
        begin = chunk * Chunk;
        end = row_length(a, row);
        warp = threadIdx.x % 128 / 32;
        lane = threadIdx.x % 32;
        own = uniform(threadIdx.x / 128);
    }

    __device__ __forceinline__ void ask_keys() const {
        for (int kt = 0; kt < KeyTiles; kt++) {
            const int width = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64;
            load_tile<Threads>(keys + kt * Tile, a.key.at(row, begin, group) + 64 * kt, a.key.token, end - begin, width, threadIdx.x);
            load_tile<Threads>(queries + kt * Tile, a.query.at(row, begin, group) + 64 * kt, a.query.token, end - begin, width, threadIdx.x);
        }
    }

    __device__ __forceinline__ void ask_value(Place to, const HeadRows& from, i64 head) const {
        for (int vt = 0; vt < ValueTiles; vt++) {
            const int width = ValueSize - 64 * vt < 64 ? ValueSize - 64 * vt : 64;
            load_tile<Threads>(to + vt * Tile, from.at(row, begin, head) + 64 * vt, from.token, end - begin, width, threadIdx.x);
        }
    }

    __device__ __forceinline__ void ask_values(i64 head) const {
        const i64 place = (row * a.heads + head) * a.chunks + chunk;
        if (threadIdx.x < ChunkNumbers::Size / 4)
            copy_async<16>(numbers.high + 4 * threadIdx.x, a.numbers + place * ChunkNumbers::Size + 4 * threadIdx.x, true);
        ask_value(gradients, a.gradient, head);
        ask_value(errors, a.error, head);
        ask_value(values, a.dValue, head);
        copy_commit();
    }

    __device__ __forceinline__ void ask_states(i64 head) const {
        const i64 place = ((row * a.heads + head) * a.chunks + chunk) * KeySize * ValueSize;
        for (int vt = 0; vt < ValueTiles; vt++)
            for (int kt = 0; kt < KeyTiles; kt++) {
                const int width = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64, tile = (vt * KeyTiles + kt) * Tile;
                const i64 at = place + 64 * vt * KeySize + 64 * kt;
                load_tile<Threads>(states + tile, a.states + at, KeySize, ValueSize - 64 * vt, width, threadIdx.x);
                load_tile<Threads>(state_gradients + tile, a.stateGradients + at, KeySize, ValueSize - 64 * vt, width, threadIdx.x);
            }
        copy_commit();
    }
};

// sums += left right^T, 16 rows a warp, over all columns of `Tiles` tiles of each
template <int Tiles> __device__ __forceinline__ void product(float (&sums)[32], Place left, Place right, int warp) {
#pragma unroll
    for (int t = 0; t < Tiles; t++) {
        unsigned words[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++) load_left(words[k], left + t * Tile, 16 * warp, 16 * k);
        open();
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<false>(sums, words[k], right + t * Tile, 16 * k);
        close();
        wait_products<0>();
    }
    settled(sums);
}

// sums += left right, over `Tiles` tiles of left's columns, `apart` elements from one tile of right to the next; of left^T with Transposed
template <bool Transposed, int Tiles>
__device__ __forceinline__ void product_rowwise(float (&sums)[32], Place left, Place right, int apart, int warp) {
#pragma unroll
    for (int t = 0; t < Tiles; t++) {
        unsigned words[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            if constexpr (Transposed) load_left_transposed(words[k], left + t * Tile, 16 * warp, 16 * k);
            else load_left(words[k], left + t * Tile, 16 * warp, 16 * k);
        open();
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<true>(sums, words[k], right + t * apart, 16 * k);
        close();
        wait_products<0>();
    }
    settled(sums);
}

// N (which 0) or M (1) of a head into shared memory, with the sums over its rows and columns that decays and strengths need
__device__ __forceinline__ void weigh_pairs(const Pairs& p, int which) {
    float alike[32], slopes[32];
    clear(alike);
    clear(slopes);
    product<KeyTiles>(alike, which ? p.keys : p.queries, p.keys, p.warp);
    product<ValueTiles>(slopes, which ? p.values : p.gradients, p.errors, p.warp);
    const int r = p.lane / 4, q = p.lane % 4;
    const float sign = which ? -1.f : 1.f;
    float rows[2] = {}, columns[16] = {};
    u16* tile = which ? p.solved : p.weighed;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = 16 * p.warp + r + 8 * half;
            float pair[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = 8 * n + 2 * q + e, at = 4 * n + 2 * half + e;
                const float slope = j + which <= i ? sign * slopes[at] * p.numbers.between(i, j) : 0.f, share = slope * alike[at];
                pair[e] = slope * p.numbers.beta[j];
                rows[half] += share * p.numbers.beta[j];
                columns[2 * n + e] += share;
            }
            *reinterpret_cast<unsigned*>(tile + swizzled(i, 8 * n) + 2 * q) = round_to_bfloat16_pair(pair[0], pair[1]);
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float sum = lane_sum(rows[half], 4);
        if (q == 0) p.rows[which * Chunk + 16 * p.warp + r + 8 * half] = sum;
    }
    reduce_scatter<16, 16, 4>(columns, p.lane);
    const int n = (p.lane & 16 ? 4 : 0) + (p.lane & 8 ? 2 : 0) + (p.lane & 4 ? 1 : 0);
    for (int e = 0; e < 2; e++) p.columns[(4 * which + p.warp) * Chunk + 8 * n + 2 * q + e] = columns[e];
}

// Adds `sums`, each row times a number of it, to the gradient; and writes the inner products of their rows with those of a tile.
__device__ __forceinline__ void add_rows(float (&gradient)[32], const float (&sums)[32], const float* by, float sign, const u16* tile, float* dots,
    const Pairs& p) {
    const int r = p.lane / 4, q = p.lane % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = 16 * p.warp + r + 8 * half;
        const float scale = sign * by[i];
        float dot = 0;
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const unsigned word = *reinterpret_cast<const unsigned*>(tile + swizzled(i, 8 * n) + 2 * q);
            const int at = 4 * n + 2 * half;
            dot += sums[at] * first_of(word) + sums[at + 1] * second_of(word);
            gradient[at] += scale * sums[at];
            gradient[at + 1] += scale * sums[at + 1];
        }
        dot = lane_sum(dot, 4);
        if (q == 0) dots[i] = dot;
    }
}

// Adds left times a transposed state, each row times a number of it, to the gradient of queries (which 0) or keys (1, 2).
__device__ __forceinline__ void add_through(const Pairs& p, float (&gradient)[32], Place left, Place state, const float* by, float sign, int which) {
    float sums[32];
    clear(sums);
    product_rowwise<false, ValueTiles>(sums, left, state + p.own * Tile, KeyTiles * Tile, p.warp);
    const u16* tile = p.tiles + (which ? KeyTiles + p.own : p.own) * Tile;
    add_rows(gradient, sums, by, sign, tile, p.dots + (which * Groups + p.own) * Chunk, p);
}

// this group's 64 columns of dQ and dK
__device__ __forceinline__ void add_head(const Pairs& p, float (&dquery)[32], float (&dkey)[32]) {
    const Place weighed = place_of(p.weighed), solved = place_of(p.solved), key = p.keys + p.own * Tile, query = p.queries + p.own * Tile;
    product_rowwise<false, 1>(dquery, weighed, key, 0, p.warp);
    product_rowwise<true, 1>(dkey, weighed, query, 0, p.warp);
    product_rowwise<false, 1>(dkey, solved, key, 0, p.warp);
    product_rowwise<true, 1>(dkey, solved, key, 0, p.warp);
    add_through(p, dquery, p.gradients, p.states, p.numbers.gamma, 1, 0);
    add_through(p, dkey, p.values, p.states, p.numbers.gamma, -1, 1);
    add_through(p, dkey, p.errors, p.state_gradients, p.numbers.r, 1, 2);
    // what the state before the chunk and the gradient of the state after it have in common
    const u16 *states = p.tiles + (2 * KeyTiles + 3 * ValueTiles) * Tile, *slopes = states + ValueTiles * KeyTiles * Tile;
    float inner = 0;
    for (int vt = 0; vt < ValueTiles; vt++)
        for (int i = 8 * (threadIdx.x % 128); i < Tile; i += 8 * 128) {
            const int at = (vt * KeyTiles + p.own) * Tile + i;
            const Raw<bfloat16, 8> x = load_raw<bfloat16, 8>(states, at), y = load_raw<bfloat16, 8>(slopes, at);
#pragma unroll
            for (int e = 0; e < 8; e++) inner += x[e] * y[e];
        }
    inner = lane_sum(inner, 32);
    if (p.lane == 0) p.inner[threadIdx.x / 32] = inner;
}

// the gradients of decays and strengths of a head, from the sums that its pairs and states have left; two warps do the work
__device__ __forceinline__ void finish_head(const Pairs& p, i64 head) {
    const int t = threadIdx.x;
    const ChunkNumbers& n = p.numbers;
    float strength = 0, decay = 0, later, written = 0, all;
    __syncthreads();
    if (t < Chunk) {
        float columns = 0, dots[3] = {};
#pragma unroll
        for (int w = 0; w < 8; w++) columns += p.columns[w * Chunk + t];
#pragma unroll
        for (int i = 0; i < 3; i++)
#pragma unroll
            for (int g = 0; g < Groups; g++) dots[i] += p.dots[(i * Groups + g) * Chunk + t];
        strength = columns + n.between(Chunk - 1, t) * dots[2];
        written = n.r[t] * dots[2];
        decay = p.rows[t] + p.rows[Chunk + t] - n.beta[t] * columns + n.gamma[t] * (dots[0] - dots[1]) - written;
        decay = scan<true>(decay, later);
        scan<true>(written, all);
        // what tokens of the second half, and what is written by both, add to the first
        if (t % 32 == 0) {
            n.totals[t / 32] = later;
            p.inner[8 + t / 32] = all;
        }
    }
    __syncthreads();
    if (t < Chunk && p.begin + t < p.a.length) {
        float inner = 0;
#pragma unroll
        for (int w = 0; w < 4 * Groups; w++) inner += p.inner[w];
        if (t < Chunk / 2) decay += static_cast<float>(n.totals[1]);
        decay += p.inner[8] + p.inner[9] + n.gamma[Chunk - 1] * inner;
        const i64 at = (p.row * p.a.length + p.begin + t) * p.a.heads + head;
        const bool token = p.begin + t < p.end;
        p.a.dDecay[at] = token ? decay : 0.f;
        p.a.dStrength[at] = token ? strength : 0.f;
    }
}

__device__ __forceinline__ void store_gradient(const HeadRows& to, const float (&sums)[32], const Pairs& p) {
    const int r = p.lane / 4, q = p.lane % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = 16 * p.warp + r + 8 * half;
        const bool there = p.begin + i < p.a.length;
        u16* at = to.at(p.row, there ? p.begin + i : 0, p.group) + 64 * p.own;
#pragma unroll
        for (int n = 0; n < 8; n += 2)
            store_row(at + 8 * n, round_to_bfloat16_pair(sums[4 * n + 2 * half], sums[4 * n + 2 * half + 1]),
                round_to_bfloat16_pair(sums[4 * n + 4 + 2 * half], sums[4 * n + 5 + 2 * half]),
                there && 64 * p.own + 8 * n + (q & 1 ? 8 : 0) < KeySize);
    }
}

__device__ __forceinline__ void pairs(const DeltaArguments& a) {
    DYNAMIC_SHARED(u16, shared);
    const Pairs p(a, shared);
    float dquery[32], dkey[32];
    clear(dquery);
    clear(dkey);
    p.ask_keys();
    const i64 share = a.heads / a.groups;
    for (i64 head = p.group * share; head < (p.group + 1) * share; head++) {
        p.ask_values(head);
        p.ask_states(head);
        copy_wait<1>();
        publish();
        __syncthreads();
        for (int which = p.own; which < 2; which += Groups) weigh_pairs(p, which);
        copy_wait<0>();
        publish();
        __syncthreads();
        add_head(p, dquery, dkey);
        finish_head(p, head);
        __syncthreads();
    }
    store_gradient(a.dQuery, dquery, p);
    store_gradient(a.dKey, dkey, p);
}

KERNEL_OF(delta_pairs, 128 * ((DELTA_K + 63) / 64), 1, DeltaArguments, pairs)
