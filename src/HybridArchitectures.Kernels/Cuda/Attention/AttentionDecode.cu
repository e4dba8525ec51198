// Decoding in bfloat16 by tensor cores (mma.sync m16n8k16, compute capability 8.0 and later); attention_decode.cuh says how rows are divided.
//
// Tiles: a warp takes Keys keys of the block's part at a time, its own of every Warps tiles, for 16 or 32 rows (queries times heads of one key head,
// which share its keys and values), and waits for no other warp until the end.
// Registers: queries (D / 4 for 16 rows), weighted sums of values (E / 4), scores of a tile.
// Before the results of the previous kernel are there, which may write the newest keys and values, tiles of older ones are copied.
// Shared memory: Stages tiles of keys and values for each warp, copied ahead; a key's elements and 16 bytes more, so that the eight keys of a block
// of a tensor core's operand lie in different banks. At the end the warps' sums.
//
// What it must move, B64, 8 key heads, 8192 keys: 1.07 GB at 64 elements a head, 2.15 GB at 128; 0.25 and 0.50 ms at 4.3 TB/s.
#include "attention_decode.cuh"

#ifndef DECODE_KEYS
#define DECODE_KEYS 16          // keys of a warp's tile
#define DECODE_STAGES 2         // tiles that are in shared memory for a warp
#endif

constexpr int Keys = DECODE_KEYS, Stages = DECODE_STAGES, Tiles = Rows / 16, DSteps = D / 16;
// elements between neighbouring keys in shared memory: an odd number of 16-byte pieces
constexpr int KeyStride = D + 8, ValueStride = E + 8, StageSize = Keys * (KeyStride + ValueStride);

static_assert(D % 16 == 0 && E % 16 == 0 && Rows % 16 == 0 && Keys % 16 == 0 && Unit % (Warps * Keys) == 0, "sizes that products take");

struct Decode {
    const DecodeArguments& args;
    const DecodePlan plan;
    u16* shared;
    int warp, lane, perHead;

    __device__ __forceinline__ explicit Decode(const DecodeArguments& arguments) : args(arguments), plan(arguments) {
        DYNAMIC_SHARED(u16, all);
        shared = all;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        perHead = plan.perHead;
    }

    // the warp's tile number i begins with this key
    __device__ __forceinline__ int key_of(int i) const { return plan.first + (i * Warps + warp) * Keys; }

    __device__ __forceinline__ Place tile_of(int i) const { return place_of(shared) + (warp * Stages + i % Stages) * StageSize; }

    template <int Width> __device__ __forceinline__ void load_rows(Place to, const void* from, i64 base, i64 token, int size, int firstKey) const {
        constexpr int Pieces = Width / 8;
        const bfloat16* source = static_cast<const bfloat16*>(from) + base;
#pragma unroll
        for (int i = 0; i < Keys * Pieces / 32; i++) {
            const int item = i * 32 + lane, key = item / Pieces, piece = item % Pieces, number = firstKey + key;
            const bool there = number < plan.last && piece * 8 < size;
            // an address that exists in any case, so that no branch is needed
            const i64 slot = plan.slot(lesser(number, plan.last - 1));
            copy_async_16_once(to + (key * (Width + 8) + piece * 8), source + (slot * token + lesser(piece * 8, size - 8)), there);
        }
    }

    __device__ __forceinline__ void load_tile(int i) const {
        const int firstKey = key_of(i);
        if (firstKey >= plan.last) return;
        const Place to = tile_of(i);
        load_rows<D>(to, args.keys, plan.row * args.keyRow + plan.keyHead * args.keyHead, args.keyToken, static_cast<int>(args.headSize), firstKey);
        load_rows<E>(to + Keys * KeyStride, args.values, plan.row * args.valueRow + plan.keyHead * args.valueHead, args.valueToken,
            static_cast<int>(args.valueSize), firstKey);
    }

    // the first tiles, those of old keys before the previous kernel has ended
    __device__ __forceinline__ void load_first_tiles() const {
        // loops, because most of a short row's time would go to fetching instructions
        unsigned loaded = 0;
#pragma unroll 1
        for (int i = 0; i < Stages; i++)
            if (key_of(i) < plan.last && plan.are_old(args, key_of(i), key_of(i) + Keys)) {
                load_tile(i);
                loaded |= 1u << i;
            }
        wait_for_previous();
#pragma unroll 1
        for (int i = 0; i < Stages; i++) {
            if (!(loaded >> i & 1)) load_tile(i);
            copy_commit();
        }
    }

    // two neighbouring elements of a row's query
    __device__ __forceinline__ unsigned query_word(int row, int column) const {
        // of an address that exists in any case: under a condition, a compiler may wait for each load
        const int last = static_cast<int>(args.queries) * perHead - 1, size = static_cast<int>(args.headSize);
        const int number = lesser(plan.group + row, last), query = number / perHead, head = plan.keyHead * perHead + number - query * perHead;
        const i64 at = plan.row * args.queryRow + query * args.queryToken + head * args.queryHead + lesser(column, size - 2);
        const unsigned word = load_raw<bfloat16, 2>(args.query, at).bits.words[0];
        return plan.group + row <= last && column < size ? word : 0;
    }

    __device__ __forceinline__ void load_queries(unsigned (&queries)[Tiles][DSteps][4]) const {
        const int quad = lane / 4, quad_lane = lane % 4;
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int k = 0; k < DSteps; k++)
#pragma unroll
                for (int i = 0; i < 4; i++) queries[t][k][i] = query_word(16 * t + quad + i % 2 * 8, 16 * k + 2 * quad_lane + i / 2 * 8);
    }

    // scores of the rows with the keys of a tile
    __device__ __forceinline__ void multiply_keys(float (&scores)[Tiles][Keys / 8][4], const unsigned (&queries)[Tiles][DSteps][4],
        Place tile) const {
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) scores[t][n][i] = 0;
        const Place from = tile + (lane / 16 * 8 + lane % 8) * KeyStride + lane / 8 % 2 * 8;
#pragma unroll
        for (int k = 0; k < DSteps; k++)
#pragma unroll
            for (int n = 0; n < Keys / 8; n += 2) {
                unsigned words[4];
                load_blocks<false>(words, from + (n * 8 * KeyStride + 16 * k));
#pragma unroll
                for (int t = 0; t < Tiles; t++) {
                    multiply_add(scores[t][n], queries[t][k], words[0], words[1]);
                    multiply_add(scores[t][n + 1], queries[t][k], words[2], words[3]);
                }
            }
    }

    __device__ __forceinline__ void multiply_values(float (&sums)[Tiles][E / 8][4], const float (&scores)[Tiles][Keys / 8][4], Place tile) const {
        const Place from = tile + (lane / 8 % 2 * 8 + lane % 8) * ValueStride + lane / 16 * 8;
#pragma unroll
        for (int k = 0; k < Keys / 16; k++) {
            unsigned probabilities[Tiles][4];
#pragma unroll
            for (int t = 0; t < Tiles; t++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    probabilities[t][i] = round_to_bfloat16_pair(scores[t][2 * k + i / 2][i % 2 * 2], scores[t][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int n = 0; n < E / 8; n += 2) {
                unsigned words[4];
                load_blocks<true>(words, from + (16 * k * ValueStride + 8 * n));
#pragma unroll
                for (int t = 0; t < Tiles; t++) {
                    multiply_add(sums[t][n], probabilities[t], words[0], words[1]);
                    multiply_add(sums[t][n + 1], probabilities[t], words[2], words[3]);
                }
            }
        }
    }

    // scores become exponents, minus infinity for keys that a query does not see
    __device__ __forceinline__ void scale_scores(float (&scores)[Tiles][Keys / 8][4], int firstKey) const {
        if (plan.all_see(args, firstKey, firstKey + Keys)) {
#pragma unroll
            for (int t = 0; t < Tiles; t++)
#pragma unroll
                for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) scores[t][n][i] = exponent_of<bfloat16>(args, scores[t][n][i]);
            return;
        }
        const int quad = lane / 4, quad_lane = lane % 4;
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int query = (plan.group + 16 * t + quad + i / 2 * 8) / perHead;
                    const bool seen = plan.sees(args, query, firstKey + 8 * n + 2 * quad_lane + i % 2);
                    scores[t][n][i] = seen ? exponent_of<bfloat16>(args, scores[t][n][i]) : minus_infinity();
                }
    }

    // exponents become exponentials over the rows' new maximum, and earlier sums follow it
    __device__ __forceinline__ void exponentiate(float (&scores)[Tiles][Keys / 8][4], float (&sums)[Tiles][E / 8][4], float (&maxima)[Tiles][2],
        float (&totals)[Tiles][2]) const {
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float most = maxima[t][half];
#pragma unroll
                for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) most = scores[t][n][2 * half + e] > most ? scores[t][n][2 * half + e] : most;
#pragma unroll
                for (int offset = 1; offset <= 2; offset *= 2) {
                    const float other = from_lane_xor(most, offset);
                    most = other > most ? other : most;
                }
                const float base = most == minus_infinity() ? 0.f : most, factor = exp2_approximate(maxima[t][half] - base);
                maxima[t][half] = most;
                float own = 0;
#pragma unroll
                for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float& score = scores[t][n][2 * half + e];
                        score = exp2_approximate(score - base);
                        own += score;
                    }
                totals[t][half] = totals[t][half] * factor + own;
#pragma unroll
                for (int n = 0; n < E / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) sums[t][n][2 * half + e] *= factor;
            }
    }

    // the warp's sums, where `finish` expects them; all warps must be through with their tiles
    __device__ __forceinline__ void show(const float (&sums)[Tiles][E / 8][4], const float (&maxima)[Tiles][2],
        const float (&totals)[Tiles][2]) const {
        float* to = reinterpret_cast<float*>(shared);
        Two* states = reinterpret_cast<Two*>(to + Warps * Rows * SumStride);
        const int quad = lane / 4, quad_lane = lane % 4;
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = warp * Rows + 16 * t + quad + 8 * half;
#pragma unroll
                for (int n = 0; n < E / 8; n++) {
                    const float two[2] = {sums[t][n][2 * half], sums[t][n][2 * half + 1]};
                    store<float, 2>(to, row * SumStride + 8 * n + 2 * quad_lane, two);
                }
                const float total = lane_sum(totals[t][half], 4);
                if (quad_lane == 0) states[row] = {maxima[t][half], total};
            }
    }

    __device__ __forceinline__ void run() const {
        if (plan.idle()) return;
        load_first_tiles();
        unsigned queries[Tiles][DSteps][4];
        load_queries(queries);
        float sums[Tiles][E / 8][4] = {}, maxima[Tiles][2], totals[Tiles][2] = {};
#pragma unroll
        for (int t = 0; t < Tiles; t++) maxima[t][0] = maxima[t][1] = minus_infinity();
        for (int i = 0; key_of(i) < plan.last; i++) {
            const Place tile = tile_of(i);
            float scores[Tiles][Keys / 8][4];
            copy_wait<Stages - 1>();
            sync_warp();
            multiply_keys(scores, queries, tile);
            scale_scores(scores, key_of(i));
            exponentiate(scores, sums, maxima, totals);
            multiply_values(sums, scores, tile + Keys * KeyStride);
            sync_warp();
            load_tile(i + Stages);
            copy_commit();
        }
        copy_wait<0>();
        __syncthreads();
        show(sums, maxima, totals);
        __syncthreads();
        finish<bfloat16>(args, plan, reinterpret_cast<float*>(shared));
    }
};

__device__ __forceinline__ void attention_decode_(const DecodeArguments& args) { Decode(args).run(); }

KERNEL_EARLY(attention_decode, 32 * Warps, DecodeArguments, attention_decode_)
