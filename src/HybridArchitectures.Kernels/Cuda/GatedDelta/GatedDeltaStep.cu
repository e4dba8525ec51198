// One token of the gated delta rule: S = exp(decay) S + strength k (v - k^T exp(decay) S), y = S^T q.
//
// A block takes 32 columns of V of one head, a lane each; its 8 warps share the K rows of the state, which stay in registers (DELTA_ROWS a thread),
// so that the state is read and written once. It must move 8 K V bytes a head.
#include "common.cuh"

#ifndef DELTA_ROWS
#define DELTA_ROWS 16           // rows of the state of a thread, K / 8 rounded up
#endif

struct Sequences {
    Typed numbers;
    i64 row, head;

    __device__ __forceinline__ float at(i64 r, i64 h, i64 element) const { return numbers[r * row + h * head + element]; }
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

__device__ __forceinline__ void step(const StepArguments& a) {
    DYNAMIC_SHARED(float, shared);
    float *query = shared, *key = query + 8 * DELTA_ROWS, *first = key + 8 * DELTA_ROWS, *second = first + 256;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 row = blockIdx.z, head = blockIdx.y, group = head / (a.heads / a.groups), column = blockIdx.x * 32 + lane;
    const bool there = column < a.values;
    float* state = a.state + (row * a.heads + head) * a.keys * a.values + column;
    float rows[DELTA_ROWS];
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) rows[i] = there && 8 * i + warp < a.keys ? state[(8 * i + warp) * a.values] : 0.f;
    for (int k = threadIdx.x; k < 8 * DELTA_ROWS; k += 256) {
        query[k] = k < a.keys ? a.query.at(row, group, k) : 0.f;
        key[k] = k < a.keys ? a.key.at(row, group, k) : 0.f;
    }
    __syncthreads();
    const float kept = exponential<float>(a.decay.at(row, head, 0)), strength = a.strength.at(row, head, 0);
    float known = 0;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        rows[i] *= kept;
        known += key[8 * i + warp] * rows[i];
    }
    known = sum_of_warps(first, known);
    const float missing = strength * ((there ? a.value.at(row, head, column) : 0.f) - known);
    float output = 0;
#pragma unroll
    for (int i = 0; i < DELTA_ROWS; i++) {
        rows[i] += key[8 * i + warp] * missing;
        output += query[8 * i + warp] * rows[i];
        if (there && 8 * i + warp < a.keys) state[(8 * i + warp) * a.values] = rows[i];
    }
    output = sum_of_warps(second, output);
    if (there && warp == 0) a.output.set((row * a.heads + head) * a.values + column, output);
}

KERNEL_OF(delta_step, 256, 2, StepArguments, step)
