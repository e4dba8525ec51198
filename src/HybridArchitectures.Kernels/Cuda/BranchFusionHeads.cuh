// Fusion of branches whose parts are within a warp: a thread has one vector of a row in each branch.
#pragma once
#include "BranchFusion.cuh"

template <class T, int V, bool Plain> __device__ __forceinline__ void heads_forward(const FusionArguments& args) {
    const i64 slice = blockIdx.x, at = (static_cast<i64>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
    const bool there[2] = {at < args.widths[0], at < args.widths[1]};
    struct Row { Raw<T, V> x[2]; };
    const auto fetch = [&](i64 row, Row& to) {
        if (row >= args.rows) return;
#pragma unroll
        for (int branch = 0; branch < 2; branch++)
            if (there[branch]) to.x[branch] = load_raw<T, V>(args.values[branch], row * args.strides[branch] + at);
    };
    Row now{};
    fetch(slice, now);
    float factors[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++)
        if (there[branch]) factors_of<V, Plain>(args, branch, at, factors[branch]);
    for (i64 row = slice; row < args.rows; row += args.slices) {
        float values[V];
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = 0;
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            float inverse = 1;
            if (args.groups[branch]) {
                const int lanes = 1 << args.shifts[branch];
                float sum = 0;
#pragma unroll
                for (int i = 0; i < V; i++) sum += now.x[branch][i] * now.x[branch][i];
                inverse = reciprocal_root(lane_sum(sum, lanes) / static_cast<float>(lanes * V) + args.epsilon);
                if (there[branch] && (threadIdx.x & (lanes - 1)) == 0)
                    args.inverse[branch][row * args.groups[branch] + (static_cast<unsigned>(at / V) >> args.shifts[branch])] = inverse;
            }
            if (there[branch])
#pragma unroll
                for (int i = 0; i < V; i++) values[i] += now.x[branch][i] * inverse * factors[branch][i];
        }
        if (there[0]) store<T, V>(args.output, row * args.outputStride + at, values);
        fetch(row + args.slices, now);
    }
}

template <class T, int V, bool Plain> __device__ __forceinline__ void heads_backward(const FusionArguments& args) {
    const i64 slice = blockIdx.x, at = (static_cast<i64>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
    const bool there[2] = {at < args.widths[0], at < args.widths[1]};
    const int count[2] = {1 << args.shifts[0], 1 << args.shifts[1]};
    i64 part[2];
    float sums[2][V], factors[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++) {
        part[branch] = static_cast<unsigned>(at / V) >> args.shifts[branch];
#pragma unroll
        for (int i = 0; i < V; i++) sums[branch][i] = 0;
        if (there[branch]) factors_of<V, Plain>(args, branch, at, factors[branch]);
    }
    struct Row { Raw<T, V> x[2], dy; float inverse[2]; };
    const auto fetch = [&](i64 row, Row& to) {
        if (row >= args.rows) return;
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            to.inverse[branch] = 1;
            if (!there[branch]) continue;
            if (args.groups[branch]) to.inverse[branch] = args.inverse[branch][row * args.groups[branch] + part[branch]];
            to.x[branch] = load_raw<T, V>(args.values[branch], row * args.strides[branch] + at);
            if (!branch) to.dy = load_raw<T, V>(args.output, row * args.outputStride + at);
        }
    };
    Row now, next;
    fetch(slice, now);
    for (i64 row = slice; row < args.rows; row += args.slices) {
        if (!Plain) fetch(row + args.slices, next);
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            float products = 0, mean = 0;
            if (there[branch])
#pragma unroll
                for (int i = 0; i < V; i++) {
                    const float product = now.dy[i] * now.x[branch][i];
                    if (!Plain) sums[branch][i] += product * now.inverse[branch];
                    products += product * factors[branch][i];
                }
            // The mean of dn n, times 1 / rms: the multiplier of x.
            if (args.groups[branch])
                mean = lane_sum(products, count[branch]) / static_cast<float>(count[branch] * V) * now.inverse[branch] * now.inverse[branch];
            if (!there[branch]) continue;
            float dx[V];
#pragma unroll
            for (int i = 0; i < V; i++) dx[i] = (now.dy[i] * factors[branch][i] - now.x[branch][i] * mean) * now.inverse[branch];
            store_stream<T, V>(args.dValues[branch], row * args.widths[branch] + at, dx);
        }
        if (!Plain) now = next; else fetch(row + args.slices, now);
    }
    if (!Plain) write_sums<V>(args, slice, at, sums[0], sums[1]);
}
