// Fusion of branches with parts of any width: a block has a row, and a thread Kept vectors of it in registers. The rest is read again.
#pragma once
#include "BranchFusion.cuh"

// The state of a block for one branch. A part as wide as the row is summed over the block. Vectors of other parts store their sums in shared memory,
// where warps add them up.
template <bool Parted> struct Branch {
    float *sums, *totals;  // in shared memory: one number per warp or vector, one per part
    i64 width, groups;
    unsigned vectors;  // of a part
    float size;

    __device__ __forceinline__ bool whole() const { return groups == 1; }
    __device__ __forceinline__ bool parted() const { return Parted && groups > 1; }
};

// Returns the part of the vector at that column; with 32 bits, because a 64-bit division would cost as much as the sums of the vector.
template <int V, bool Parted> __device__ __forceinline__ unsigned part_of(const Branch<Parted>& branch, i64 at) {
    return static_cast<unsigned>(at / V) / branch.vectors;
}

enum { MaxWarps = 16 };

// Assigns the two halves of shared memory in turn, so that one barrier per row is enough if parts are whole rows. Returns the numbers of one half.
template <int V, bool Parted> __device__ __forceinline__ i64 branches_of(const FusionArguments& args, float* shared, Branch<Parted> (&branches)[2]) {
    const float* start = shared;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        Branch<Parted>& branch = branches[i];
        branch.width = args.widths[i];
        branch.groups = args.groups[i];
        branch.vectors = static_cast<unsigned>(args.parts[i] / V);
        branch.size = static_cast<float>(args.parts[i]);
        branch.sums = shared;
        branch.totals = shared + (branch.parted() ? branch.groups * branch.vectors : MaxWarps);
        shared = branch.totals + (branch.parted() ? branch.groups : 0);
    }
    return shared - start;
}

// Adds the sum of the products of one vector to its part.
template <int V, bool Parted> __device__ __forceinline__ void gather(const Branch<Parted>& branch, i64 at, float sum, float& whole) {
    if (branch.parted()) branch.sums[at / V] = sum;
    else whole += sum;
}

// Adds up the collected sums: of a whole row in `whole`, of other parts in the totals of the branches, as finish(branch, part, sum) computes it.
template <bool Parted, class Finish> __device__ __forceinline__ void add_up(
    const Branch<Parted> (&branches)[2], float (&whole)[2], const Finish& finish) {
    const int lane = threadIdx.x % 32, warps = blockDim.x / 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int b = 0; b < 2; b++)
        if (branches[b].whole()) {
            whole[b] = lane_sum(whole[b], 32);
            if (lane == 0) branches[b].sums[warp] = whole[b];
        }
    __syncthreads();
    bool more = false;
#pragma unroll
    for (int b = 0; b < 2; b++) {
        const Branch<Parted>& branch = branches[b];
        if (branch.whole()) whole[b] = lane_sum(lane % MaxWarps < warps ? branch.sums[lane % MaxWarps] : 0.f, MaxWarps);
        if (branch.parted()) {
            more = true;
            for (i64 group = warp; group < branch.groups; group += warps) {
                float sum = 0;
                for (unsigned i = lane; i < branch.vectors; i += 32) sum += branch.sums[group * branch.vectors + i];
                sum = lane_sum(sum, 32);
                if (lane == 0) branch.totals[group] = finish(b, group, sum);
            }
        }
    }
    if (more) __syncthreads();
}

// Prepares the sums of the next row: they use the other half or, if shared memory holds only one, this half after all threads have read it.
template <bool Parted, bool Wider> __device__ __forceinline__ void take_turns(Branch<Parted> (&branches)[2], i64& turn) {
    if (Wider) __syncthreads();
    else {
#pragma unroll
        for (int b = 0; b < 2; b++) { branches[b].sums += turn; branches[b].totals += turn; }
        turn = -turn;
    }
}

// The channels of a branch in a block.
__device__ __forceinline__ int held_of(const FusionArguments& args, int branch, int most) {
    return static_cast<int>(args.widths[branch] < most ? args.widths[branch] : most);
}

template <class T, int V, int Kept, bool Parted, bool Wider> __device__ __forceinline__ void rows_forward(const FusionArguments& args) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x * V, step = blockDim.x * V;
    const i64 slice = blockIdx.x;
    Branch<Parted> branches[2];
    i64 turn = branches_of<V, Parted>(args, shared, branches);
    const int held[2] = {held_of(args, 0, Kept * step), held_of(args, 1, Kept * step)};
    float factors[2][Kept][V];
    unsigned part[2][Kept];
    struct Row { Raw<T, V> x[2][Kept]; };
    const auto fetch = [&](i64 row, Row& to) {
        if (row >= args.rows) return;
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) to.x[b][k] = load_raw<T, V>(args.values[b], row * args.strides[b] + k * step + lane);
    };
    Row now;
    fetch(slice, now);
#pragma unroll
    for (int b = 0; b < 2; b++)
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * step + lane < held[b]) {
                if (!Parted) factors_of<V, false>(args, b, k * step + lane, factors[b][k]);
                if (branches[b].parted()) part[b][k] = part_of<V>(branches[b], k * step + lane);
            }
    const auto squares_of = [&](const Raw<T, V>& x) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < V; i++) sum += x[i] * x[i];
        return sum;
    };
    for (i64 row = slice; row < args.rows; row += args.slices) {
        float whole[2] = {0, 0};
#pragma unroll
        for (int b = 0; b < 2; b++) {
            const Branch<Parted>& branch = branches[b];
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) gather<V, Parted>(branch, k * step + lane, squares_of(now.x[b][k]), whole[b]);
            for (i64 at = Wider ? Kept * step + lane : branch.width; at < branch.width; at += step)
                gather<V, Parted>(branch, at, squares_of(load_raw<T, V>(args.values[b], row * args.strides[b] + at)), whole[b]);
        }
        add_up<Parted>(branches, whole, [&](int b, i64 group, float sum) {
            return args.inverse[b][row * branches[b].groups + group] = reciprocal_root(sum / branches[b].size + args.epsilon);
        });
#pragma unroll
        for (int b = 0; b < 2; b++)
            if (branches[b].whole()) {
                whole[b] = reciprocal_root(whole[b] / branches[b].size + args.epsilon);
                if (threadIdx.x == 0) args.inverse[b][row] = whole[b];
            }
        const auto inverse_of = [&](int b, unsigned part) { return branches[b].whole() ? whole[b] : branches[b].parted() ? branches[b].totals[part]
            : 1.f; };
        const auto add = [&](int b, i64 at, unsigned part, const Raw<T, V>& x, const float (&known)[V], float (&values)[V]) {
            const float inverse = inverse_of(b, part);
            float its[V];
            if (Parted) factors_of<V, false>(args, b, at, its);  // in registers they would halve the number of threads
#pragma unroll
            for (int i = 0; i < V; i++) values[i] += x[i] * inverse * (Parted ? its[i] : known[i]);
        };
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const int at = k * step + lane;
            if (at >= held[0]) continue;
            float values[V] = {};
#pragma unroll
            for (int b = 0; b < 2; b++)
                if (at < held[b]) add(b, at, part[b][k], now.x[b][k], factors[b][k], values);
            store<T, V>(args.output, row * args.outputStride + at, values);
        }
        for (i64 at = Wider ? Kept * step + lane : branches[0].width; at < branches[0].width; at += step) {
            float values[V] = {};
#pragma unroll
            for (int b = 0; b < 2; b++)
                if (at < branches[b].width)
                    add(b, at, branches[b].parted() ? part_of<V>(branches[b], at) : 0, load_raw<T, V>(args.values[b], row * args.strides[b] + at),
                        factors[b][0], values);
            store<T, V>(args.output, row * args.outputStride + at, values);
        }
        if (!Parted) break;  // the host then starts one block per row
        fetch(row + args.slices, now);
        take_turns<Parted, Wider>(branches, turn);
    }
}

// Adds the gradients of weights and gate of a vector that is not in registers where they are written.
template <int V> __device__ __forceinline__ void add_in_memory(
    const FusionArguments& args, int b, i64 slice, i64 width, i64 at, bool first, const float (&added)[V]) {
    float shares[V], weights[V];
    float *to = args.dWeights[b] ? args.dWeights[b] + slice * width + at : nullptr,
        *gate = args.dGate ? args.dGate + slice * width + at : nullptr;
    shares_of<V>(args, b, at, shares);
    channels_of<V>(args.weights[b], at, 1, weights);
#pragma unroll
    for (int i = 0; i < V; i++) {
        if (to) to[i] = (first ? 0 : to[i]) + added[i] * shares[i];
        const float change = added[i] * weights[i] * shares[i] * (1 - shares[i]);
        if (gate) gate[i] = b ? gate[i] - change : (first ? 0 : gate[i]) + change;
    }
}

// Stages: the rows in shared memory, of which all but one are being copied; 0: the next row is loaded after the results of this one.
template <class T, int V, int Kept, bool Parted, bool Wider, int Stages> __device__ __forceinline__ void rows_backward(const FusionArguments& args) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x * V, step = blockDim.x * V;
    const i64 slice = blockIdx.x;
    Branch<Parted> branches[2];
    i64 turn = branches_of<V, Parted>(args, shared, branches);
    const int held[2] = {held_of(args, 0, Kept * step), held_of(args, 1, Kept * step)};
    float sums[2][Kept][V], factors[2][Kept][V];
    unsigned part[2][Kept];
#pragma unroll
    for (int b = 0; b < 2; b++)
#pragma unroll
        for (int k = 0; k < Kept; k++) {
#pragma unroll
            for (int i = 0; i < V; i++) sums[b][k][i] = 0;
            if (k * step + lane < held[b]) {
                factors_of<V, false>(args, b, k * step + lane, factors[b][k]);
                if (branches[b].parted()) part[b][k] = part_of<V>(branches[b], k * step + lane);
            }
        }
    const auto inverse_of = [&](i64 row, int b, unsigned part) {
        const Branch<Parted>& branch = branches[b];
        return branch.whole() ? args.inverse[b][row] : branch.parted() ? args.inverse[b][row * branch.groups + part] : 1.f;
    };
    const auto part_at = [&](int b, i64 at) { return branches[b].parted() ? part_of<V>(branches[b], at) : 0; };
    // 0 and 1: the branches; 2: dy
    const auto element_of = [&](int b, i64 row, i64 at) {
        return static_cast<const T*>(b < 2 ? args.values[b] : args.output) + row * (b < 2 ? args.strides[b] : args.outputStride) + at;
    };
    Raw<T, V> loaded[Stages ? 1 : 3][Stages ? 1 : Kept];
    Raw<T, V>* ring = reinterpret_cast<Raw<T, V>*>(shared + (2 * turn + 3) / 4 * 4) + threadIdx.x;
    const auto stage_element = [&](int stage, int b, int k) { return ring + ((stage * 3 + b) * Kept + k) * blockDim.x; };
    float inverse[2][Kept], following[2][Kept];
    const auto fetch_inverse = [&](i64 row, float (&to)[2][Kept]) {
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int k = 0; k < Kept; k++) {
                to[b][k] = row >= args.rows || k * step + lane >= held[b] ? 1.f : k && !Parted ? to[b][0] : inverse_of(row, b, part[b][k]);
            }
    };
    const auto fetch = [&](i64 row, int stage) {
        if (row < args.rows)
#pragma unroll
            for (int b = 0; b < 3; b++)
#pragma unroll
                for (int k = 0; k < Kept; k++) {
                    const int at = k * step + lane;
                    if (at >= held[b == 1 ? 1 : 0]) continue;
                    if constexpr (Stages > 0) copy_async<16>(stage_element(stage, b, k), element_of(b, row, at), true);
                    else loaded[b][k] = load_raw<T, V>(element_of(b, row, at), 0);
                }
        if constexpr (Stages > 0) copy_commit();
    };
    int stage = 0;
    const auto vector = [&](int b, int k) {
        if constexpr (Stages > 0) return *stage_element(stage, b, k); else return loaded[b][k];
    };
    const auto products_of = [&](const Raw<T, V>& x, const Raw<T, V>& dy, float inverse, const float (&scales)[V], float (&added)[V]) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float product = dy[i] * x[i];
            added[i] += product * inverse;
            sum += product * scales[i];
        }
        return sum * inverse;
    };
    fetch_inverse(slice, inverse);
#pragma unroll
    for (int i = 0; i < (Stages ? Stages - 1 : 1); i++) fetch(slice + i * args.slices, i);
    for (i64 row = slice; row < args.rows; row += args.slices) {
        if constexpr (Stages > 0) {
            fetch(row + (Stages - 1) * args.slices, stage ? stage - 1 : Stages - 1);
            fetch_inverse(row + args.slices, following);
            copy_wait<Stages - 1>();
        }
        float whole[2] = {0, 0};
#pragma unroll
        for (int b = 0; b < 2; b++) {
            const Branch<Parted>& branch = branches[b];
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b])
                    gather<V, Parted>(branch, k * step + lane, products_of(vector(b, k), vector(2, k), inverse[b][k], factors[b][k], sums[b][k]),
                        whole[b]);
            // The rest: sums over rows are accumulated where they are written.
            for (i64 at = Wider ? Kept * step + lane : branch.width; at < branch.width; at += step) {
                float rest[V], added[V];
                factors_of<V, false>(args, b, at, rest);
#pragma unroll
                for (int i = 0; i < V; i++) added[i] = 0;
                gather<V, Parted>(branch, at,
                    products_of(load_raw<T, V>(element_of(b, row, at), 0), load_raw<T, V>(element_of(2, row, at), 0),
                        inverse_of(row, b, part_at(b, at)), rest, added), whole[b]);
                add_in_memory<V>(args, b, slice, branch.width, at, row == slice, added);
            }
        }
        add_up<Parted>(branches, whole, [&](int b, i64, float sum) { return sum / branches[b].size; });
        const auto finish = [&](int b, i64 at, unsigned part, const Raw<T, V>& x, const Raw<T, V>& dy, float inverse, const float (&scales)[V]) {
            const Branch<Parted>& branch = branches[b];
            const float mean = (branch.whole() ? whole[b] / branch.size : branch.parted() ? branch.totals[part] : 0.f) * inverse;
            float dx[V];
#pragma unroll
            for (int i = 0; i < V; i++) dx[i] = (dy[i] * scales[i] - x[i] * mean) * inverse;
            store_stream<T, V>(args.dValues[b], row * branch.width + at, dx);
        };
#pragma unroll
        for (int b = 0; b < 2; b++) {
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) finish(b, k * step + lane, part[b][k], vector(b, k), vector(2, k), inverse[b][k], factors[b][k]);
            for (i64 at = Wider ? Kept * step + lane : branches[b].width; at < branches[b].width; at += step) {
                float rest[V];
                factors_of<V, false>(args, b, at, rest);
                finish(b, at, part_at(b, at), load_raw<T, V>(element_of(b, row, at), 0), load_raw<T, V>(element_of(2, row, at), 0),
                    inverse_of(row, b, part_at(b, at)), rest);
            }
        }
        if constexpr (Stages > 0) {
#pragma unroll
            for (int b = 0; b < 2; b++)
#pragma unroll
                for (int k = 0; k < Kept; k++) inverse[b][k] = following[b][k];
            stage = stage + 1 == Stages ? 0 : stage + 1;
        } else {
            fetch_inverse(row + args.slices, inverse);
            fetch(row + args.slices, 0);
        }
        take_turns<Parted, Wider>(branches, turn);
    }
#pragma unroll
    for (int k = 0; k < Kept; k++) write_sums<V>(args, slice, k * step + lane, sums[0][k], sums[1][k]);
}
