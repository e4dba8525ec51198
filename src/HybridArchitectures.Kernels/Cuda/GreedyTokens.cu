// The most probable token of each row: the number of its largest score, the lowest of equal ones, and whether that score is finite. NaN counts as the
// largest. `greedy_parts` has a block for each of 128 parts of a row, `greedy_tokens` a warp for each row. The scores are read once, 4 bytes each.
#include "candidates.cuh"

constexpr int Parts = 128;

struct GreedyArguments {
    const float* scores;                             // (rows, count)
    float* best;                                     // (rows, Parts)
    int* at;                                         // (rows, Parts)
    i64 *ids, *tokens, *finite;                      // (rows) each: the token twice, and 1 or 0
    i64 count, row;
};

__device__ __forceinline__ void greedy_parts_(const GreedyArguments& args) {
    DYNAMIC_SHARED(Candidate, shared);
    const i64 row = blockIdx.y;
    const int count = static_cast<int>(args.count), size = (count + Parts - 1) / Parts, first = blockIdx.x * size;
    const int last = first + size < count ? first + size : count;
    const float* scores = args.scores + row * args.row;
    Candidate own = {as_float(0xff800000u), first < count ? first : count - 1};
#pragma unroll 8
    for (int at = first + threadIdx.x; at < last; at += 256) own.take({scores[at], at});
    own.take_lanes();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x > 0) return;
#pragma unroll
    for (int warp = 1; warp < 8; warp++) own.take(shared[warp]);
    args.best[row * Parts + blockIdx.x] = own.score;
    args.at[row * Parts + blockIdx.x] = own.at;
}

__device__ __forceinline__ void greedy_tokens_(const GreedyArguments& args) {
    const i64 row = blockIdx.x, from = row * Parts + threadIdx.x;
    Candidate all[Parts / 32];
#pragma unroll
    for (int i = 0; i < Parts / 32; i++) all[i] = {args.best[from + 32 * i], args.at[from + 32 * i]};
    Candidate own = all[0];
#pragma unroll
    for (int i = 1; i < Parts / 32; i++) own.take(all[i]);
    own.take_lanes();
    if (threadIdx.x > 0) return;
    args.ids[row] = args.tokens[row] = own.at;
    args.finite[row] = (as_bits(own.score) & 0x7f800000u) != 0x7f800000u;
}

KERNEL(greedy_parts, 256, GreedyArguments, greedy_parts_)
KERNEL(greedy_tokens, 32, GreedyArguments, greedy_tokens_)
