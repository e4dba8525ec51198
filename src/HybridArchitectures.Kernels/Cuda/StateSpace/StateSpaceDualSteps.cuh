// The time steps of the state-space dual: their sums before the scans, their gradients after the pairs, and the states of segments.
#pragma once
#include "StateSpaceDualTiles.cuh"

// Computes dt and the sums of dt A log2(e). A block processes one chunk of one row and 32 heads.
__device__ __forceinline__ void steps(const DualArguments& args) {
    DYNAMIC_SHARED(float, shared);  // dt, decaySums and what rounding removed, (32, Q + 1) each
    constexpr int Line = Q + 1;
    float *dt = shared, *decaySums = dt + 32 * Line, *low = decaySums + 32 * Line;
    const i64 headBlocks = (args.heads + 31) / 32, chunk = blockIdx.x / headBlocks, firstHead = blockIdx.x % headBlocks * 32, row = args.firstRow
        + blockIdx.y,
        begin = chunk * Q;
    i64 valid = args.length;
    if (args.lengths && args.lengths[row] < valid) valid = args.lengths[row];
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = firstHead + i % 32, t = begin + i / 32;
        float step = 0, logarithm = 0;
        if (head < args.heads && t < valid) {
            step = args.rawDt[row * args.dtRow + t * args.dtToken + head] + (args.dtBias ? args.dtBias[head] : 0.f);
            if (args.softplus) step = softplus<Element>(step);
            step = step < args.minDt ? args.minDt : step > args.maxDt ? args.maxDt : step;
            logarithm = step * args.A[head] * log2_e;
            logarithm = logarithm < MinLogarithm ? MinLogarithm : logarithm;
        }
        dt[i % 32 * Line + i / 32] = step;
        decaySums[i % 32 * Line + i / 32] = logarithm;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        Sum sum = 0;
#pragma unroll 16
        for (int t = 0; t < Q; t++) {
            sum += decaySums[threadIdx.x * Line + t];
            decaySums[threadIdx.x * Line + t] = static_cast<float>(sum);
            if constexpr (Planes > 1) low[threadIdx.x * Line + t] = static_cast<float>(sum - static_cast<float>(sum));
        }
    } else if (threadIdx.x == 32 && args.documentBegins && firstHead == 0) {
        int at = -1;
        for (int t = 0; t < Q; t++) {
            if (begin + t < valid && args.starts[row * args.length + begin + t]) at = t;
            args.documentBegins[(row * args.chunks + chunk) * Q + t] = at;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = firstHead + i / Q, to = ((row * args.heads + head) * args.chunks + chunk) * Q + i % Q;
        if (head >= args.heads) continue;
        args.dt[to] = dt[i / Q * Line + i % Q];
        args.decaySums[to] = decaySums[i / Q * Line + i % Q];
        if constexpr (Planes > 1) args.decaySumsLow[to] = low[i / Q * Line + i % Q];
    }
}

// Computes the gradients of the raw time steps, A and the bias. A block is like one of steps. The gradient of the logarithm of a decay is the sum
// over all pairs that pass it: from tokens at or after it to tokens before it, in the chunk or outside.
__device__ __forceinline__ void step_gradients(const DualArguments& args) {
    DYNAMIC_SHARED(float, shared);
    constexpr int Line = Q + 1;
    float *prefix = shared, *direct = prefix + 32 * Line, *dt = direct + 32 * Line;
    Sum* suffix = reinterpret_cast<Sum*>(dt + 32 * Line);
    const i64 headBlocks = (args.heads + 31) / 32, chunk = blockIdx.x / headBlocks, firstHead = blockIdx.x % headBlocks * 32, row = args.firstRow
        + blockIdx.y,
        begin = chunk * Q;
    i64 valid = args.length;
    if (args.lengths && args.lengths[row] < valid) valid = args.lengths[row];
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = firstHead + i / Q, from = ((row * args.heads + head) * args.chunks + chunk) * Q + i % Q;
        const int to = i / Q * Line + i % Q;
        const bool there = head < args.heads && begin + i % Q < valid;
        suffix[to] = there ? args.suffixTrace[from] : Sum(0);
        prefix[to] = there ? args.prefixTrace[from] : 0.f;
        direct[to] = there ? args.directTrace[from] : 0.f;
        dt[to] = there ? args.dt[from] : 0.f;
    }
    __syncthreads();
    if (threadIdx.x < 32 && firstHead + threadIdx.x < args.heads) {
        const i64 head = firstHead + threadIdx.x, to = (row * args.chunks + chunk) * args.heads + head;
        const int line = threadIdx.x * Line;
        const float rate = args.A[head];
        // What passes a token is a small difference of large sums, in which pairs within the chunk cancel.
        double after = 0, before = begin < valid ? args.innerTrace[to] : 0.f, dA = 0;
#pragma unroll 16
        for (int t = 0; t < Q; t++) after += suffix[line + t];
#pragma unroll 8
        for (int t = 0; t < Q; t++) {
            const double through = after + before;
            after -= suffix[line + t];
            before += static_cast<double>(dt[line + t]) * prefix[line + t];
            dA += dt[line + t] * through;
            direct[line + t] += prefix[line + t] + rate * static_cast<float>(through);
        }
        args.dA[to] = static_cast<float>(dA);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * Q; i += 256) {
        const i64 head = firstHead + i % 32, t = begin + i / 32;
        if (head >= args.heads || t >= args.length) continue;
        float gradient = 0;
        if (t < valid) {
            const float raw = args.rawDt[row * args.dtRow + t * args.dtToken + head] + (args.dtBias ? args.dtBias[head] : 0.f),
                step = args.softplus ? softplus<Element>(raw) : raw;
            if (step >= args.minDt && step <= args.maxDt) gradient = direct[i % 32 * Line + i / 32] * (args.softplus ? sigmoid<Element>(raw) : 1.f);
        }
        args.dDt.set(row * args.dDtRow + t * args.dDtToken + head, gradient);
        direct[i % 32 * Line + i / 32] = gradient;
    }
    __syncthreads();
    if (threadIdx.x < 32 && firstHead + threadIdx.x < args.heads) {
        float sum = 0;
        for (int t = 0; t < Q && begin + t < args.length; t++) sum += direct[threadIdx.x * Line + t];
        args.dDtBias[(row * args.chunks + chunk) * args.heads + firstHead + threadIdx.x] = sum;
    }
}

// Converts, in place, the state that each segment adds to the state before each segment. A block processes 256 elements of the state of a head in one
// row.
template <bool Reverse> __device__ __forceinline__ void combine(const DualArguments& args) {
    DYNAMIC_SHARED(float, decays);                     // (segments)
    constexpr int Parts = (P * N + 255) / 256;
    const i64 head = blockIdx.x / Parts, row = args.firstRow + blockIdx.y, element = blockIdx.x % Parts * 256 + threadIdx.x;
    for (i64 segment = threadIdx.x; segment < args.segments; segment += 256) {
        float sum = 0;
        bool kept = true;
        for (i64 chunk = segment * args.chunksPerSegment; chunk < (segment + 1) * args.chunksPerSegment && chunk < args.chunks; chunk++) {
            sum += args.decaySums[((row * args.heads + head) * args.chunks + chunk) * Q + Q - 1];
            if constexpr (Documents) kept = kept && args.documentBegins[(row * args.chunks + chunk) * Q + Q - 1] < 0;
        }
        decays[segment] = kept ? exp2_of<Element>(sum) : 0.f;
    }
    __syncthreads();
    if (element >= P * N) return;
    float state = args.incoming ? args.incoming[(row * args.heads + head) * P * N + element] : 0.f;
    constexpr int Together = 8;
    for (i64 i = 0; i < args.segments; i += Together) {
        float segmentStates[Together];
        float* at[Together];
#pragma unroll
        for (int j = 0; j < Together; j++) {
            const i64 segment = i + j < args.segments ? Reverse ? args.segments - 1 - i - j : i + j : 0;
            at[j] = args.outgoing + ((row * args.segments + segment) * args.heads + head) * P * N + element;
            segmentStates[j] = i + j < args.segments ? *at[j] : 0.f;
        }
#pragma unroll
        for (int j = 0; j < Together; j++) {
            if (i + j >= args.segments) continue;
            *at[j] = state;
            state = state * decays[Reverse ? args.segments - 1 - i - j : i + j] + segmentStates[j];
        }
    }
}
