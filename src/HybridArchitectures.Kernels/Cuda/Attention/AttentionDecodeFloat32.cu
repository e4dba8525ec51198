// Decoding in float32, without tensor cores; attention_decode.cuh says how rows are divided.
//
// Eight lanes take a key: each holds every eighth piece of 16 bytes of the queries, and of the weighted sums of values. The 16 teams of a block take
// every 16th key of its part.
// Registers: queries (Rows * D / 8), sums (Rows * E / 8). Shared memory: the warps' sums at the end.
#include "attention_decode.cuh"

constexpr int DPieces = D / 32, EPieces = E / 32, Teams = 4 * Warps;

static_assert(D % 32 == 0 && E % 32 == 0 && Unit % Teams == 0, "pieces of eight lanes");

struct DecodeFloat32 {
    const DecodeArguments& args;
    const DecodePlan plan;
    int lane, team, perHead;

    __device__ __forceinline__ explicit DecodeFloat32(const DecodeArguments& arguments) : args(arguments), plan(arguments) {
        lane = threadIdx.x % 8;
        team = threadIdx.x / 8;
        perHead = plan.perHead;
    }

    // the lane's pieces of a head's elements; zeros past its size
    template <int Pieces> __device__ __forceinline__ void load_pieces(float (&to)[Pieces][4], const void* from, i64 at, i64 size) const {
#pragma unroll
        for (int i = 0; i < Pieces; i++) {
            const int column = (8 * i + lane) * 4;
            Raw<float, 4> piece = {};
            if (column < size) piece = load_raw<float, 4>(from, at + column);
            unpack<float, 4>(piece, to[i]);
        }
    }

    __device__ __forceinline__ void load_queries(float (&queries)[Rows][DPieces][4]) const {
#pragma unroll
        for (int row = 0; row < Rows; row++) {
            const int number = plan.group + row, query = number / perHead, head = plan.keyHead * perHead + number % perHead;
            const bool there = query < args.queries;
            const i64 at = there ? plan.row * args.queryRow + query * args.queryToken + head * args.queryHead : 0;
            load_pieces<DPieces>(queries[row], args.query, at, there ? args.headSize : 0);
        }
    }

    // one key for all rows
    __device__ __forceinline__ void take(int key, const float (&queries)[Rows][DPieces][4], float (&sums)[Rows][EPieces][4], float (&maxima)[Rows],
        float (&totals)[Rows]) const {
        const bool there = key < plan.last;
        const i64 slot = there ? plan.slot(key) : 0;
        float k[DPieces][4], v[EPieces][4];
        load_pieces<DPieces>(k, args.keys, plan.row * args.keyRow + slot * args.keyToken + plan.keyHead * args.keyHead, there ? args.headSize : 0);
        load_pieces<EPieces>(
            v, args.values, plan.row * args.valueRow + slot * args.valueToken + plan.keyHead * args.valueHead, there ? args.valueSize : 0);
#pragma unroll
        for (int row = 0; row < Rows; row++) {
            float product = 0;
#pragma unroll
            for (int i = 0; i < DPieces; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) product += queries[row][i][e] * k[i][e];
            product = lane_sum(product, 8);
            if (!there || !plan.sees(args, (plan.group + row) / perHead, key)) continue;
            const float own = exponent_of<float>(args, product), most = own > maxima[row] ? own : maxima[row];
            const float factor = exp2_polynomial(maxima[row] - most), weight = exp2_polynomial(own - most);
            maxima[row] = most;
            totals[row] = totals[row] * factor + weight;
#pragma unroll
            for (int i = 0; i < EPieces; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[row][i][e] = sums[row][i][e] * factor + weight * v[i][e];
        }
    }

    // the sums of the warp's four teams, where `finish` expects them
    __device__ __forceinline__ void show(float (&sums)[Rows][EPieces][4], const float (&maxima)[Rows], const float (&totals)[Rows], float* to) const {
        Two* states = reinterpret_cast<Two*>(to + Warps * Rows * SumStride);
        const int warp = threadIdx.x / 32;
#pragma unroll
        for (int row = 0; row < Rows; row++) {
            float most = maxima[row];
#pragma unroll
            for (int offset = 8; offset <= 16; offset *= 2) {
                const float other = from_lane_xor(most, offset);
                most = other > most ? other : most;
            }
            const float factor = maxima[row] == minus_infinity() ? 0.f : exp2_polynomial(maxima[row] - most);
            float total = totals[row] * factor;
            total += from_lane_xor(total, 8);
            total += from_lane_xor(total, 16);
#pragma unroll
            for (int i = 0; i < EPieces; i++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float sum = sums[row][i][e] * factor;
                    sum += from_lane_xor(sum, 8);
                    sums[row][i][e] = sum + from_lane_xor(sum, 16);
                }
                if (threadIdx.x % 32 < 8) store<float, 4>(to, (warp * Rows + row) * SumStride + (8 * i + lane) * 4, sums[row][i]);
            }
            if (threadIdx.x % 32 == 0) states[warp * Rows + row] = {most, total};
        }
    }

    __device__ __forceinline__ void run() const {
        if (plan.idle()) return;
        float queries[Rows][DPieces][4], sums[Rows][EPieces][4] = {}, maxima[Rows], totals[Rows] = {};
        load_queries(queries);
#pragma unroll
        for (int row = 0; row < Rows; row++) maxima[row] = minus_infinity();
        // whole warps go on together
        for (int key = plan.first; key < plan.last; key += Teams) take(key + team, queries, sums, maxima, totals);
        DYNAMIC_SHARED(float, shared);
        show(sums, maxima, totals, shared);
        __syncthreads();
        finish<float>(args, plan, shared);
    }
};

__device__ __forceinline__ void attention_decode_float32_(const DecodeArguments& args) { DecodeFloat32(args).run(); }

KERNEL(attention_decode_float32, 128, DecodeArguments, attention_decode_float32_)
