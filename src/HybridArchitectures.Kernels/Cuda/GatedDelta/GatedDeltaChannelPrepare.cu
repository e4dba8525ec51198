// The gated delta rule or linear attention with a decay per key channel: T = (I + B)^-1 and P of every chunk, and KR, QR, KW and what remains of the
// state (gated_delta.cuh has the formulas, channel_delta.cuh explains the levels).
//
// A block of four warps takes a chunk of one head. At each level, warps multiply decayed keys and queries with decayed keys, which they scale and
// round on their way from shared memory to registers. Products of keys take two bfloat16 parts of each factor, because (I + B)^-1 amplifies their
// errors where keys are alike. Within 8 tokens, each lane of a warp sums the products of some elements of the keys, and a reduction adds up the
// lanes. gated_delta_solve.cuh solves I + B.
//
// Shared memory: keys and queries (later B in float32 and P in their place), and c in float32 (later T): 68 KiB for keys of 128, so that three blocks
// fit a multiprocessor.
// What it must do, 1 x 8192 tokens, 32 heads of 128: 268 MB read (decays in float32), 268 MB written, 0.13 ms on an H200; 335 million exponentials,
// 0.09 ms.
#include "channel_delta.cuh"
#include "gated_delta_solve.cuh"

constexpr int Lanes = 32, PerLane = 64 * KeyTiles / Lanes;

// keys and queries, or B and P in their place
constexpr int PairFloats = Chunk * Pitch + Chunk * Chunk / 2, TileFloats = 2 * KeyTiles * Tile / 2;
constexpr int SharedFloats = PairFloats > TileFloats ? PairFloats : TileFloats;

struct ChannelPrepare {
    const u16 *keys, *queries;
    float* b;
    u16* scores;                                     // P, rows of 64
    ChannelNumbers numbers;
    int warp, lane, quad, quad_lane;

    __device__ __forceinline__ explicit ChannelPrepare(u16* tiles) : keys(tiles), queries(tiles + KeyTiles * Tile),
        b(reinterpret_cast<float*>(tiles)), scores(reinterpret_cast<u16*>(b + Chunk * Pitch)), numbers(b + SharedFloats),
        warp(threadIdx.x / 32), lane(threadIdx.x % 32), quad(lane / 4), quad_lane(lane % 4) {}

    // stores products of tokens i > j, or i = j
    __device__ __forceinline__ void store_pair(int i, int j, float keys_product, float query_product) const {
        const float weight = numbers.same_document(i, j) ? numbers.beta[j] : 0.f;
        if constexpr (Corrects) b[i * Pitch + j] = keys_product * weight;
        scores[i * Chunk + j] = round_to_bfloat16(query_product * weight);
    }
};

// scales two elements, as sums of two bfloat16
__device__ __forceinline__ void split_scaled(unsigned word, Two scale, unsigned& high, unsigned& low) {
    split_words(first_of(word) * scale.x, second_of(word) * scale.y, high, low);
}

// The products of 16 tokens with 8 Blocks earlier ones, as in the fragments of tensor cores. With UpperRows, only the upper 8 rows are tokens of the
// level.
template <int Blocks, bool UpperRows> struct LevelProducts {
    float keys[Blocks][4] = {}, queries[Blocks][4] = {};

    // multiplies the tokens from `rows` on with those from `columns` on
    __device__ __forceinline__ void multiply(const ChannelPrepare& block, int rows, int columns, int half) {
        const int reference = reference_of(columns, half);
#pragma unroll 2
        for (int first = 0; first < KeySize; first += 16) {
            unsigned left[4] = {}, left_rest[4] = {}, left_queries[4] = {};
#pragma unroll
            for (int i = UpperRows ? 1 : 0; i < 4; i += UpperRows ? 2 : 1) {
                const int token = rows + block.quad + i % 2 * 8, channel = first + 2 * block.quad_lane + i / 2 * 8;
                const Two decay = between(block.numbers.decays(token, channel), block.numbers.decays(reference, channel));
                if constexpr (Corrects) split_scaled(word_at(block.keys, token, channel), decay, left[i], left_rest[i]);
                left_queries[i] = scaled(word_at(block.queries, token, channel), decay);
            }
#pragma unroll
            for (int n = 0; n < Blocks; n++) {
                unsigned right[2], rest[2];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int token = columns + 8 * n + block.quad, channel = first + 2 * block.quad_lane + 8 * i;
                    split_scaled(word_at(block.keys, token, channel),
                        between(block.numbers.decays(reference, channel), block.numbers.decays(token, channel)), right[i], rest[i]);
                }
                if constexpr (Corrects) {
                    multiply_add(keys[n], left_rest, right[0], right[1]);
                    multiply_add(keys[n], left, rest[0], rest[1]);
                    multiply_add(keys[n], left, right[0], right[1]);
                }
                multiply_add(queries[n], left_queries, right[0], right[1]);
            }
        }
    }

    __device__ __forceinline__ void store(const ChannelPrepare& block, int rows, int columns) const {
#pragma unroll
        for (int n = 0; n < Blocks; n++)
#pragma unroll
            for (int e = UpperRows ? 2 : 0; e < 4; e++)
                block.store_pair(rows + block.quad + e / 2 * 8, columns + 8 * n + 2 * block.quad_lane + e % 2, keys[n][e], queries[n][e]);
    }
};

// The products within the two times 8 tokens of a warp. For each row, two neighbouring lanes have each product: lanes 0 to 15 those of keys, and the
// others those of queries.
struct ProductsWithin {
    float sums[2][8];

    __device__ __forceinline__ void multiply(const ChannelPrepare& block) {
        const int channel = block.lane * PerLane;
#pragma unroll
        for (int part = 0; part < 2; part++) {
            const int first = 16 * block.warp + 8 * part;
            Raw<float, PerLane> c[8];
            Raw<bfloat16, PerLane> keys[8], queries[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const int at = in_tiles(first + i, channel);
                c[i] = load_raw<float, PerLane>(block.numbers.c, (first + i) * DecayPitch + channel);
                keys[i] = load_raw<bfloat16, PerLane>(block.keys, at);
                queries[i] = load_raw<bfloat16, PerLane>(block.queries, at);
            }
#pragma unroll
            for (int row = 0; row < 8; row++) {
                float products[16] = {};             // 8 of keys, then 8 of queries
#pragma unroll
                for (int column = 0; column <= row; column++)
#pragma unroll
                    for (int e = 0; e < PerLane; e++) {
                        const float decay = column < row ? exp2_approximate(c[row][e] - c[column][e]) : 1.f, decayed = keys[column][e] * decay;
                        if (Corrects && column < row) products[column] += keys[row][e] * decayed;
                        products[8 + column] += queries[row][e] * decayed;
                    }
                reduce_scatter<16, 16, 1>(products, block.lane);
                sums[part][row] = products[0];
            }
        }
    }

    __device__ __forceinline__ void store(const ChannelPrepare& block) const {
#pragma unroll
        for (int part = 0; part < 2; part++)
#pragma unroll
            for (int row = 0; row < 8; row++) {
                const int first = 16 * block.warp + 8 * part, column = block.lane / 2;
                const float query_product = from_lane_xor(sums[part][row], 16);
                if (block.lane % 2 == 0 && column <= row) block.store_pair(first + row, first + column, sums[part][row], query_product);
            }
    }
};

// writes KR, QR, KW and what remains of the rows of the state
__device__ __forceinline__ void store_decayed(const ChannelPrepare& block, const DeltaArguments& args, i64 place) {
    constexpr int Pieces = KeySize / 8;
    const ChannelNumbers& numbers = block.numbers;
    for (int i = threadIdx.x; i < Chunk * Pieces; i += 128) {
        const int token = i / Pieces, channel = i % Pieces * 8, at = in_tiles(token, channel);
        const auto keys = load_raw<bfloat16, 8>(block.keys, at), queries = load_raw<bfloat16, 8>(block.queries, at);
        const float reads = numbers.reads_state(token) ? 1.f : 0.f, writes = numbers.writes_state(token) ? numbers.beta[token] : 0.f;
        float reading_keys[8], reading_queries[8], writing_keys[8];
#pragma unroll
        for (int e = 0; e < 8; e++) {
            const float c = numbers.c[token * DecayPitch + channel + e], last = numbers.c[(Chunk - 1) * DecayPitch + channel + e];
            const float gamma = reads * exp2_approximate(c);
            reading_keys[e] = keys[e] * gamma;
            reading_queries[e] = queries[e] * gamma;
            writing_keys[e] = keys[e] * (writes * exp2_approximate(last - c));
        }
        const i64 to = (place * Chunk + token) * KeySize + channel;
        if constexpr (Corrects) store<bfloat16, 8>(args.readingKeys, to, reading_keys);
        store<bfloat16, 8>(args.readingQueries, to, reading_queries);
        store<bfloat16, 8>(args.writingKeys, to, writing_keys);
    }
    for (int channel = threadIdx.x; channel < KeySize; channel += 128)
        args.remains[place * KeySize + channel] =
            numbers.reads_state(Chunk - 1) ? exp2_approximate(numbers.c[(Chunk - 1) * DecayPitch + channel]) : 0.f;
}

__device__ __forceinline__ void channel_prepare(const DeltaArguments& args) {
    DYNAMIC_SHARED(u16, shared);
    u16* tiles = first_tile(shared);
    const ChannelPrepare block(tiles);
    const i64 chunk = blockIdx.x, head = blockIdx.y, row = blockIdx.z, begin = chunk * Chunk, end = row_length(args, row);
    const i64 group = head / (args.heads / args.groups), place = (row * args.heads + head) * args.chunks + chunk;
    const Place keys = place_of(tiles), queries = keys + KeyTiles * Tile;
    for (int kt = 0; kt < KeyTiles; kt++) {
        const int columns = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64;
        load_tile<128>(keys + kt * Tile, args.key.at(row, begin, group) + 64 * kt, args.key.tokenStride, end - begin, columns, threadIdx.x);
        load_tile<128>(queries + kt * Tile, args.query.at(row, begin, group) + 64 * kt, args.query.tokenStride, end - begin, columns, threadIdx.x);
    }
    copy_commit();
    channel_numbers<128>(block.numbers, args, row, head, begin, end);
    copy_wait<0>();
    __syncthreads();
    const int warp = block.warp, rows_of_32 = 32 + warp / 2 * 16, rows_of_16 = 16 + warp / 2 * 32;
    LevelProducts<2, false> of_32;
    LevelProducts<1, false> of_16;
    LevelProducts<1, true> of_8;
    ProductsWithin within;
    store_decayed(block, args, place);
    of_32.multiply(block, rows_of_32, warp % 2 * 16, 32);
    of_16.multiply(block, rows_of_16, rows_of_16 - 16 + warp % 2 * 8, 16);
    of_8.multiply(block, 16 * warp, 16 * warp, 8);
    within.multiply(block);
    __syncthreads();
    // B and P take the place of keys and queries
    for (int i = threadIdx.x; i < Chunk * Chunk / 2; i += 128) reinterpret_cast<unsigned*>(block.scores)[i] = 0;
    __syncthreads();
    of_32.store(block, rows_of_32, warp % 2 * 16);
    of_16.store(block, rows_of_16, rows_of_16 - 16 + warp % 2 * 8);
    of_8.store(block, 16 * warp, 16 * warp);
    within.store(block);
    __syncthreads();
    if constexpr (Corrects) {
        // T takes the place of the decays
        solve(block.b, block.numbers.c);
        store_solved(block.numbers.c, args.solved + place * Chunk * Chunk);
    }
    for (int i = threadIdx.x; i < Chunk * Chunk / 8; i += 128)
        reinterpret_cast<Word<16>*>(args.scores + place * Chunk * Chunk)[i] = reinterpret_cast<const Word<16>*>(block.scores)[i];
}

KERNEL_OF(delta_channel_prepare, 128, 3, DeltaArguments, channel_prepare)
