// One token of the gated delta rule, or a few tokens of each row, one after another: S = exp(decay) S + strength k (v - k^T exp(decay) S), y = S^T q.
// With DELTA_CHANNELS, each row of the state has a separate decay. Without DELTA_CORRECTS, S = exp(decay) S + k v. With DELTA_PROJECTED, queries and
// keys are scaled to one length first, and strengths and decays are computed from their projections:
// q = query_scale q / |q|, k = k / |k|, strength = max_strength sigmoid(r), decay = a softplus(r' + bias).
//
// With several tokens, the state before the first one is written to `before`. With counts, some of the tokens are processed again from there.
//
// A block computes 32 columns of V of one head, one per lane. Its 8 warps share the K rows of the state, which stay in registers (DELTA_ROWS per
// thread), so that the state is read and written once. It must move 8 K V bytes per head.
#include "common.cuh"

#ifndef DELTA_ROWS
#define DELTA_ROWS 16           // rows of the state of a thread, K / 8 rounded up
#define DELTA_CHANNELS 0        // whether each element of a key has a separate decay
#define DELTA_CORRECTS 1        // whether the token writes what its value lacks of the state, or its value
#define DELTA_PROJECTED 0       // whether lengths, strengths and decays are those of projections
#endif

struct Sequences {
    Typed numbers;
    i64 rowStride, tokenStride, headStride;

    __device__ __forceinline__ float at(i64 row, i64 token, i64 head, i64 element) const {
        return numbers[row * rowStride + token * tokenStride + head * headStride + element];
    }
};

struct StepArguments {
    Sequences query, key, value;
    Sequences decay, strength;      // with DELTA_PROJECTED, decay is not read, and strength contains both of each group: of H/G heads each
    float* state;                   // (rows, heads, K, V): after the tokens
    const float* from;              // before the tokens; may be the same
    float* before;                  // a copy of it, or null
    TypedOutput output;             // (rows, tokens, heads, V), or null
    i64 heads, groups, keys, values, tokens;
    const i64* counts;              // (rows): the tokens to process; rows with all tokens are left as they are. Or null: all
    Typed bias, decayRates;         // (heads): for DELTA_PROJECTED; rates are negative, and null if nothing decays
    float queryScale, epsilon, maxStrength, reserved;
};
static_assert(sizeof(StepArguments) == 336, "as GatedDeltaStepCuda.cs has it");

__device__ __forceinline__ float sum_of_warps(float* scratch, float value) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    scratch[warp * 32 + lane] = value;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < 8; w++) sum += scratch[w * 32 + lane];
    return sum;
}

// Shared memory of a block: the token's numbers and the sums of the warps.
struct StepMemory {
    float *query, *key, *key_sums, *query_sums, *decays;

    __device__ __forceinline__ StepMemory() {
        DYNAMIC_SHARED(float, shared);
        query = shared;
        key = query + 8 * DELTA_ROWS;
        key_sums = key + 8 * DELTA_ROWS;
        query_sums = key_sums + 256;
        decays = query_sums + 256;
    }
};

// What a token does to its head.
struct TokenRates { float decay, strength, key_scale, query_scale; };

// Returns 1 / the length of a vector in shared memory. All warps compute the same.
__device__ __forceinline__ float inverse_length(const float* vector, float epsilon) {
    float sum = 0;
    for (int k = threadIdx.x % 32; k < 8 * DELTA_ROWS; k += 32) sum += vector[k] * vector[k];
    return reciprocal_root(lane_sum(sum, 32) + epsilon);
}

__device__ __forceinline__ TokenRates rates_of(const StepArguments& args, const StepMemory& memory, i64 row, i64 token, i64 head) {
    if constexpr (DELTA_PROJECTED) {
        const i64 each = args.heads / args.groups, group = head / each, at = head % each;
        float decay = 1;
        if (args.decayRates.base)
            decay = exponential<float>(args.decayRates[head] * softplus<float>(args.strength.at(row, token, group, each + at) + args.bias[head]));
        return {decay, args.maxStrength * sigmoid<float>(args.strength.at(row, token, group, at)), inverse_length(memory.key, args.epsilon),
            args.queryScale * inverse_length(memory.query, args.epsilon)};
    } else return {DELTA_CHANNELS ? 0.f : exponential<float>(args.decay.at(row, token, head, 0)),
        DELTA_CORRECTS ? args.strength.at(row, token, head, 0) : 1.f, 1, 1};
}

// Processes a token. The barrier of the last sum stands between the token's reads of shared memory and the next token's writes.
__device__ __forceinline__ void step_token(const StepArguments& args, const StepMemory& memory, float (&state_rows)[DELTA_ROWS], i64 token) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 row = blockIdx.z, head = blockIdx.y, group = head / (args.heads / args.groups), column = blockIdx.x * 32 + lane;
    const bool inside = column < args.values;
    for (int k = threadIdx.x; k < 8 * DELTA_ROWS; k += 256) {
        memory.query[k] = k < args.keys ? args.query.at(row, token, group, k) : 0.f;
        memory.key[k] = k < args.keys ? args.key.at(row, token, group, k) : 0.f;
        if constexpr (DELTA_CHANNELS) memory.decays[k] = k < args.keys ? exponential<float>(args.decay.at(row, token, head, k)) : 0.f;
    }
    __syncthreads();
    const TokenRates rates = rates_of(args, memory, row, token, head);
    float recalled = 0;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        state_rows[i] *= DELTA_CHANNELS ? memory.decays[8 * i + warp] : rates.decay;
        if constexpr (DELTA_CORRECTS) recalled += memory.key[8 * i + warp] * state_rows[i];
    }
    float error = inside ? args.value.at(row, token, head, column) : 0.f;
    if constexpr (DELTA_CORRECTS) error = rates.strength * (error - rates.key_scale * sum_of_warps(memory.key_sums, recalled)) * rates.key_scale;
    float output = 0;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        state_rows[i] += memory.key[8 * i + warp] * error;
        output += memory.query[8 * i + warp] * state_rows[i];
    }
    output = rates.query_scale * sum_of_warps(memory.query_sums, output);
    if (inside && warp == 0 && args.output.base) args.output.set(((row * args.tokens + token) * args.heads + head) * args.values + column, output);
}

// Loads or stores the thread's numbers of the state: every 8th row of a column.
template <bool Loads> __device__ __forceinline__ void move_state(const StepArguments& args, float* state, float (&state_rows)[DELTA_ROWS]) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 column = blockIdx.x * 32 + lane;
    float* own = state + (blockIdx.z * args.heads + blockIdx.y) * args.keys * args.values + column;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        const bool there = column < args.values && 8 * i + warp < args.keys;
        if constexpr (Loads) state_rows[i] = there ? own[(8 * i + warp) * args.values] : 0.f;
        else if (there) own[(8 * i + warp) * args.values] = state_rows[i];
    }
}

__device__ __forceinline__ void step(const StepArguments& args) {
    i64 count = args.tokens;
    if (args.counts) {
        const i64 kept = args.counts[blockIdx.z];
        if (kept >= count) return;
        count = kept;
    }
    const StepMemory memory;
    float state_rows[DELTA_ROWS];
    move_state<true>(args, const_cast<float*>(args.from), state_rows);
    if (args.before) move_state<false>(args, args.before, state_rows);
#pragma unroll 1
    for (i64 token = 0; token < count; token++) step_token(args, memory, state_rows, token);
    move_state<false>(args, args.state, state_rows);
}

KERNEL_OF(delta_step, 256, 2, StepArguments, step)
