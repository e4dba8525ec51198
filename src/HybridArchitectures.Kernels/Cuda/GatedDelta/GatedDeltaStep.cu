// One token of the gated delta rule: S = exp(decay) S + strength k (v - k^T exp(decay) S), y = S^T q. With DELTA_CHANNELS, each row of the state has
// a separate decay. Without DELTA_CORRECTS, S = exp(decay) S + k v.
//
// A block computes 32 columns of V of one head, one per lane. Its 8 warps share the K rows of the state, which stay in registers (DELTA_ROWS per
// thread), so that the state is read and written once. It must move 8 K V bytes per head.
#include "common.cuh"

#ifndef DELTA_ROWS
#define DELTA_ROWS 16           // rows of the state of a thread, K / 8 rounded up
#define DELTA_CHANNELS 0        // whether each element of a key has a separate decay
#define DELTA_CORRECTS 1        // whether the token writes what its value lacks of the state, or its value
#endif

struct Sequences {
    Typed numbers;
    i64 rowStride, headStride;

    __device__ __forceinline__ float at(i64 row, i64 head, i64 element) const { return numbers[row * rowStride + head * headStride + element]; }
};

struct StepArguments {
    Sequences query, key, value, decay, strength;
    float* state;                   // (rows, heads, K, V)
    TypedOutput output;             // (rows, heads, V)
    i64 heads, groups, keys, values;
};
static_assert(sizeof(StepArguments) == 216, "as GatedDeltaStepCuda.cs has it");

__device__ __forceinline__ float sum_of_warps(float* scratch, float value) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    scratch[warp * 32 + lane] = value;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < 8; w++) sum += scratch[w * 32 + lane];
    return sum;
}

__device__ __forceinline__ void step(const StepArguments& args) {
    DYNAMIC_SHARED(float, shared);
    float *query = shared, *key = query + 8 * DELTA_ROWS, *key_sums = key + 8 * DELTA_ROWS, *query_sums = key_sums + 256;
    float* decays = query_sums + 256;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 row = blockIdx.z, head = blockIdx.y, group = head / (args.heads / args.groups), column = blockIdx.x * 32 + lane;
    const bool inside = column < args.values;
    float* state = args.state + (row * args.heads + head) * args.keys * args.values + column;
    float state_rows[DELTA_ROWS];
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) state_rows[i] = inside && 8 * i + warp < args.keys ? state[(8 * i + warp) * args.values] : 0.f;
    for (int k = threadIdx.x; k < 8 * DELTA_ROWS; k += 256) {
        query[k] = k < args.keys ? args.query.at(row, group, k) : 0.f;
        key[k] = k < args.keys ? args.key.at(row, group, k) : 0.f;
        if constexpr (DELTA_CHANNELS) decays[k] = k < args.keys ? exponential<float>(args.decay.at(row, head, k)) : 0.f;
    }
    __syncthreads();
    const float decay = DELTA_CHANNELS ? 0.f : exponential<float>(args.decay.at(row, head, 0));
    float recalled = 0;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        state_rows[i] *= DELTA_CHANNELS ? decays[8 * i + warp] : decay;
        if constexpr (DELTA_CORRECTS) recalled += key[8 * i + warp] * state_rows[i];
    }
    float error = inside ? args.value.at(row, head, column) : 0.f;
    if constexpr (DELTA_CORRECTS) error = args.strength.at(row, head, 0) * (error - sum_of_warps(key_sums, recalled));
    float output = 0;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        state_rows[i] += key[8 * i + warp] * error;
        output += query[8 * i + warp] * state_rows[i];
        if (inside && 8 * i + warp < args.keys) state[(8 * i + warp) * args.values] = state_rows[i];
    }
    output = sum_of_warps(query_sums, output);
    if (inside && warp == 0) args.output.set((row * args.heads + head) * args.values + column, output);
}

KERNEL_OF(delta_step, 256, 2, StepArguments, step)
