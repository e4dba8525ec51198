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
#include "gated_delta_pairs.cuh"

struct Pairs : PairTiles {
    float *rows, *columns, *dots, *inner;            // 2 x 64; 2 x 4 x 64; 3 x Groups x 64; 12
    ChunkNumbers numbers;

    static constexpr int Floats = (2 + 8 + 3 * Groups) * Chunk + 12;

    __device__ __forceinline__ Pairs(const DeltaArguments& arguments, u16* shared) : PairTiles(arguments, shared), rows(floats()),
        columns(rows + 2 * Chunk), dots(columns + 8 * Chunk), inner(dots + 3 * Groups * Chunk), numbers(floats() + Floats) {}

    __device__ __forceinline__ void load_values(i64 head) const {
        const i64 place = (row * args.heads + head) * args.chunks + chunk;
        if (threadIdx.x < ChunkNumbers::Size / 4)
            copy_async<16>(numbers.high + 4 * threadIdx.x, args.numbers + place * ChunkNumbers::Size + 4 * threadIdx.x, true);
        load_head(head);
    }
};

// computes N (which 0) or M (1) of a head into shared memory, with the sums over its rows and columns that decays and strengths need
__device__ __forceinline__ void weigh_pairs(const Pairs& block, int which) {
    float similarities[32], pair_gradients[32];
    clear(similarities);
    clear(pair_gradients);
    product<KeyTiles>(similarities, which ? block.keys : block.queries, block.keys, block.warp);
    product<ValueTiles>(pair_gradients, which ? block.values : block.gradients, block.errors, block.warp);
    const int quad = block.lane / 4, quad_lane = block.lane % 4;
    const float sign = which ? -1.f : 1.f;
    float rows[2] = {}, columns[16] = {};
    u16* tile = which ? block.matrix_m : block.matrix_n;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = 16 * block.warp + quad + 8 * half;
            float pair[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = 8 * n + 2 * quad_lane + e, at = 4 * n + 2 * half + e;
                const float pair_gradient = j + which <= i ? sign * pair_gradients[at] * block.numbers.between(i, j) : 0.f;
                const float weighted = pair_gradient * similarities[at];
                pair[e] = pair_gradient * block.numbers.beta[j];
                rows[half] += weighted * block.numbers.beta[j];
                columns[2 * n + e] += weighted;
            }
            *reinterpret_cast<unsigned*>(tile + swizzled(i, 8 * n) + 2 * quad_lane) = round_to_bfloat16_pair(pair[0], pair[1]);
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float sum = lane_sum(rows[half], 4);
        if (quad_lane == 0) block.rows[which * Chunk + 16 * block.warp + quad + 8 * half] = sum;
    }
    reduce_scatter<16, 16, 4>(columns, block.lane);
    const int n = (block.lane & 16 ? 4 : 0) + (block.lane & 8 ? 2 : 0) + (block.lane & 4 ? 1 : 0);
    for (int e = 0; e < 2; e++) block.columns[(4 * which + block.warp) * Chunk + 8 * n + 2 * quad_lane + e] = columns[e];
}

// Adds `sums`, each row times its scale, to the gradient. Writes the inner products of their rows with those of a tile to `dots`.
__device__ __forceinline__ void add_rows(
    float (&gradient)[32], const float (&sums)[32], const float* scales, float sign, const u16* tile, float* dots, const Pairs& block) {
    const int quad = block.lane / 4, quad_lane = block.lane % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = 16 * block.warp + quad + 8 * half;
        const float scale = sign * scales[i];
        float dot = 0;
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const unsigned word = *reinterpret_cast<const unsigned*>(tile + swizzled(i, 8 * n) + 2 * quad_lane);
            const int at = 4 * n + 2 * half;
            dot += sums[at] * first_of(word) + sums[at + 1] * second_of(word);
            gradient[at] += scale * sums[at];
            gradient[at + 1] += scale * sums[at + 1];
        }
        dot = lane_sum(dot, 4);
        if (quad_lane == 0) dots[i] = dot;
    }
}

// Adds left times a transposed state, each row times its scale, to the gradient of queries (which 0) or keys (1, 2).
__device__ __forceinline__ void add_through(
    const Pairs& block, float (&gradient)[32], Place left, Place state, const float* scales, float sign, int which) {
    float sums[32];
    clear(sums);
    product_rowwise<false, ValueTiles>(sums, left, state + block.warp_group * Tile, KeyTiles * Tile, block.warp);
    const u16* tile = block.tiles + (which ? KeyTiles + block.warp_group : block.warp_group) * Tile;
    add_rows(gradient, sums, scales, sign, tile, block.dots + (which * Groups + block.warp_group) * Chunk, block);
}

// adds a head to this group's 64 columns of dQ and dK
__device__ __forceinline__ void add_head(const Pairs& block, float (&query_gradient)[32], float (&key_gradient)[32]) {
    const Place n_place = place_of(block.matrix_n), m_place = place_of(block.matrix_m);
    const Place key = block.keys + block.warp_group * Tile, query = block.queries + block.warp_group * Tile;
    product_rowwise<false, 1>(query_gradient, n_place, key, 0, block.warp);
    product_rowwise<true, 1>(key_gradient, n_place, query, 0, block.warp);
    product_rowwise<false, 1>(key_gradient, m_place, key, 0, block.warp);
    product_rowwise<true, 1>(key_gradient, m_place, key, 0, block.warp);
    add_through(block, query_gradient, block.gradients, block.states, block.numbers.gamma, 1, 0);
    add_through(block, key_gradient, block.values, block.states, block.numbers.gamma, -1, 1);
    add_through(block, key_gradient, block.errors, block.state_gradients, block.numbers.r, 1, 2);
    // the inner product of the state before the chunk and the gradient of the state after it
    const u16 *states = block.tiles + (2 * KeyTiles + 3 * ValueTiles) * Tile, *state_gradients = states + ValueTiles * KeyTiles * Tile;
    float inner = 0;
    for (int vt = 0; vt < ValueTiles; vt++)
        for (int i = 8 * (threadIdx.x % 128); i < Tile; i += 8 * 128) {
            const int element = (vt * KeyTiles + block.warp_group) * Tile + i;
            const Raw<bfloat16, 8> state = load_raw<bfloat16, 8>(states, element), gradient = load_raw<bfloat16, 8>(state_gradients, element);
#pragma unroll
            for (int e = 0; e < 8; e++) inner += state[e] * gradient[e];
        }
    inner = lane_sum(inner, 32);
    if (block.lane == 0) block.inner[threadIdx.x / 32] = inner;
}

// computes the gradients of decays and strengths of a head from the sums over its pairs and states; two warps do the work
__device__ __forceinline__ void finish_head(const Pairs& block, i64 head) {
    const int thread = threadIdx.x;
    const ChunkNumbers& numbers = block.numbers;
    float strength = 0, decay = 0, later, written = 0, all;
    __syncthreads();
    if (thread < Chunk) {
        float columns = 0, dots[3] = {};
#pragma unroll
        for (int w = 0; w < 8; w++) columns += block.columns[w * Chunk + thread];
#pragma unroll
        for (int i = 0; i < 3; i++)
#pragma unroll
            for (int g = 0; g < Groups; g++) dots[i] += block.dots[(i * Groups + g) * Chunk + thread];
        strength = columns + numbers.between(Chunk - 1, thread) * dots[2];
        written = numbers.r[thread] * dots[2];
        decay = block.rows[thread] + block.rows[Chunk + thread] - numbers.beta[thread] * columns + numbers.gamma[thread] * (dots[0] - dots[1])
            - written;
        decay = scan<true>(decay, later);
        scan<true>(written, all);
        // the first half adds the sum of the second half, and both add what was written
        if (thread % 32 == 0) {
            numbers.totals[thread / 32] = later;
            block.inner[8 + thread / 32] = all;
        }
    }
    __syncthreads();
    if (thread < Chunk && block.begin + thread < block.args.length) {
        float inner = 0;
#pragma unroll
        for (int w = 0; w < 4 * Groups; w++) inner += block.inner[w];
        if (thread < Chunk / 2) decay += static_cast<float>(numbers.totals[1]);
        decay += block.inner[8] + block.inner[9] + numbers.gamma[Chunk - 1] * inner;
        const i64 at = (block.row * block.args.length + block.begin + thread) * block.args.heads + head;
        const bool token = block.begin + thread < block.end;
        block.args.dDecay[at] = token ? decay : 0.f;
        block.args.dStrength[at] = token ? strength : 0.f;
    }
}

__device__ __forceinline__ void pairs(const DeltaArguments& args) {
    DYNAMIC_SHARED(u16, shared);
    const Pairs block(args, shared);
    float query_gradient[32], key_gradient[32];
    clear(query_gradient);
    clear(key_gradient);
    block.load_keys();
    const i64 heads_per_group = args.heads / args.groups;
    for (i64 head = block.group * heads_per_group; head < (block.group + 1) * heads_per_group; head++) {
        block.load_values(head);
        block.load_states(head);
        copy_wait<1>();
        publish();
        __syncthreads();
        for (int which = block.warp_group; which < 2; which += Groups) weigh_pairs(block, which);
        copy_wait<0>();
        publish();
        __syncthreads();
        add_head(block, query_gradient, key_gradient);
        finish_head(block, head);
        __syncthreads();
    }
    store_gradient(args.dQuery, query_gradient, block);
    store_gradient(args.dKey, key_gradient, block);
}

KERNEL_OF(delta_pairs, 128 * ((DELTA_K + 63) / 64), 1, DeltaArguments, pairs)
