// One branch, or two branches over the same channels: normalized over equal parts of the width, scaled per channel, and added, subtracted or mixed by
// a gate per channel; and the gradients. (Concatenated branches are processed one after the other.) One kernel is compiled for a type, a form and a
// direction (BranchFusionLaunchConfiguration has the configurations):
//
// - Heads: a part is within the lanes of a warp. A thread has one vector of 16 bytes of each branch, parts are summed by exchanges, and nothing waits
//   for a whole row. Without weights and gate, a block processes one row, or 256 vectors of it. Otherwise it processes the same columns of several
//   rows, with their scales in registers, and backward loads the next row ahead.
// - Rows: a part is a row of up to 1024 vectors. A block processes a row, and a thread two vectors of each branch. Backward processes the same
//   columns of many rows, and copies the next row to shared memory at the same time.
// - Parts: the same for other parts, whose vectors store their sums in shared memory.
// - Rest: the same for any width, and for elements that do not fit in vectors. Elements beyond the width of a block are read again, and
//   their gradients are accumulated in memory.
//
// The gradients of weights and gate all follow from one sum over rows per branch and channel, of dy x / rms. It is accumulated in registers and
// written once per block, and added up over blocks in a fixed order. Forward moves 3 widths per row, backward 5. About 8 and 20 operations per
// element. Measured on one H100 (3.0 TB/s) for 65536 x 4096 with 64 heads: bfloat16 0.555 and 0.917 ms (limits 0.542 and 0.904 ms), float32 1.12 and
// 1.85 ms (1.08 and 1.81 ms). With weights and a gate: 0.57 and 0.97 ms, 1.13 and 1.89 ms. Over whole rows: 0.54 and 1.00 ms, 1.05 and 1.87 ms.
#include "common.cuh"

enum Form { Heads, Rows, Parts, Rest };

#ifndef FUSION_TYPE  // an arbitrary configuration, if none is given
#define FUSION_TYPE bfloat16
#define FUSION_VECTOR 8
#define FUSION_FORM Rest
#define FUSION_PLAIN false
#define FUSION_BACKWARD 1
#endif

enum Kind { Added, Differing, Mixed };

struct FusionArguments {
    const void *values[2];
    const float *weights[2], *gate;                  // (width of the branch) each, or null; gate (width)
    float* inverse[2];  // (rows, groups) of 1 / rms; null for a branch without a norm
    void* output;  // contiguous rows: written forward; backward, the gradient with respect to it, read
    void* dValues[2];  // contiguous rows
    float *dWeights[2], *dGate;                      // (slices, width), or null
    i64 rows, slices, widths[2], groups[2], strides[2], outputStride;
    i64 parts[2];                                    // channels of a part
    int shifts[2];  // a part within a warp has 1 << shift vectors
    float epsilon;
    int kind;
};

// Returns the factors of the normalized channels of a branch in the output, in addition to their weights.
template <int V> __device__ __forceinline__ void shares_of(const FusionArguments& args, int branch, i64 at, float (&shares)[V]) {
    const bool mixed = args.kind == Mixed;
    channels_of<V>(mixed ? args.gate : nullptr, at, 0, shares);
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float share = mixed ? sigmoid(shares[i]) : 1;
        shares[i] = !branch ? share : mixed ? 1 - share : args.kind == Differing ? -1 : 1;
    }
}

template <int V, bool Plain> __device__ __forceinline__ void factors_of(const FusionArguments& args, int branch, i64 at, float (&factors)[V]) {
    if (Plain) {
#pragma unroll
        for (int i = 0; i < V; i++) factors[i] = branch && args.kind == Differing ? -1 : 1;
        return;
    }
    float weights[V];
    shares_of<V>(args, branch, at, factors);
    channels_of<V>(args.weights[branch], at, 1, weights);
#pragma unroll
    for (int i = 0; i < V; i++) factors[i] *= weights[i];
}

// ---- parts within a warp: a thread has one vector of a row in each branch ----

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

// Writes the gradients of weights and gate for V channels, from the sums over rows of dy n of both branches.
template <int V> __device__ __forceinline__ void write_sums(
    const FusionArguments& args, i64 slice, i64 at, const float (&first)[V], const float (&second)[V]) {
    float shares[V], weights[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++) {
        if (at >= args.widths[branch] || !args.dWeights[branch]) continue;
        shares_of<V>(args, branch, at, shares);
#pragma unroll
        for (int i = 0; i < V; i++) args.dWeights[branch][slice * args.widths[branch] + at + i] = (branch ? second : first)[i] * shares[i];
    }
    if (at >= args.widths[0] || !args.dGate) return;
    shares_of<V>(args, 0, at, shares);
#pragma unroll
    for (int branch = 0; branch < 2; branch++) channels_of<V>(args.weights[branch], at, 1, weights[branch]);
#pragma unroll
    for (int i = 0; i < V; i++)
        args.dGate[slice * args.widths[0] + at + i] = (first[i] * weights[0][i] - second[i] * weights[1][i]) * shares[i] * (1 - shares[i]);
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

// ---- parts of any width: a block has a row, and a thread Kept vectors of it in registers; the rest is read again ----

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
template <int V, bool Parted> __device__ __forceinline__ unsigned part_of(
    const Branch<Parted>& branch, i64 at) { return static_cast<unsigned>(at / V) / branch.vectors; }

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
__device__ __forceinline__ int held_of(
    const FusionArguments& args, int branch, int most) { return static_cast<int>(args.widths[branch] < most ? args.widths[branch] : most); }

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
    const auto element_of = [&](int b, i64 row, i64 at) { return static_cast<const T*>(b < 2 ? args.values[b] : args.output)
        + row * (b < 2 ? args.strides[b] : args.outputStride) + at; };
    // 0 and 1: the branches; 2: dy
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
    const auto products_of = [&](const Raw<T, V>& x, const Raw<T, V>& dy, float inverse, const float (&its)[V], float (&added)[V]) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float product = dy[i] * x[i];
            added[i] += product * inverse;
            sum += product * its[i];
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
                float its[V], added[V], shares[V], weights[V];
                factors_of<V, false>(args, b, at, its);
#pragma unroll
                for (int i = 0; i < V; i++) added[i] = 0;
                gather<V, Parted>(branch, at,
                    products_of(load_raw<T, V>(element_of(b, row, at), 0), load_raw<T, V>(element_of(2, row, at), 0),
                        inverse_of(row, b, part_at(b, at)), its,
                    added), whole[b]);
                float *to = args.dWeights[b] ? args.dWeights[b] + slice * branch.width + at : nullptr,
                    *gate = args.dGate ? args.dGate + slice * branch.width + at : nullptr;
                shares_of<V>(args, b, at, shares);
                channels_of<V>(args.weights[b], at, 1, weights);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    if (to) to[i] = (row == slice ? 0 : to[i]) + added[i] * shares[i];
                    const float change = added[i] * weights[i] * shares[i] * (1 - shares[i]);
                    if (gate) gate[i] = b ? gate[i] - change : (row == slice ? 0 : gate[i]) + change;
                }
            }
        }
        add_up<Parted>(branches, whole, [&](int b, i64, float sum) { return sum / branches[b].size; });
        const auto finish = [&](int b, i64 at, unsigned part, const Raw<T, V>& x, const Raw<T, V>& dy, float inverse, const float (&its)[V]) {
            const Branch<Parted>& branch = branches[b];
            const float mean = (branch.whole() ? whole[b] / branch.size : branch.parted() ? branch.totals[part] : 0.f) * inverse;
            float dx[V];
#pragma unroll
            for (int i = 0; i < V; i++) dx[i] = (dy[i] * its[i] - x[i] * mean) * inverse;
            store_stream<T, V>(args.dValues[b], row * branch.width + at, dx);
        };
#pragma unroll
        for (int b = 0; b < 2; b++) {
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) finish(b, k * step + lane, part[b][k], vector(b, k), vector(2, k), inverse[b][k], factors[b][k]);
            for (i64 at = Wider ? Kept * step + lane : branches[b].width; at < branches[b].width; at += step) {
                float its[V];
                factors_of<V, false>(args, b, at, its);
                finish(b, at, part_at(b, at), load_raw<T, V>(element_of(b, row, at), 0), load_raw<T, V>(element_of(2, row, at), 0),
                    inverse_of(row, b, part_at(b, at)), its);
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

#if FUSION_BACKWARD
template <class T, int V, Form F, bool Plain> __device__ __forceinline__ void fusion(const FusionArguments& args) {
    if constexpr (F == Heads) heads_backward<T, V, Plain>(args);
    else rows_backward<T, V, 2, F != Rows, F == Rest, F == Rest ? 0 : 2>(args);
}
KERNEL_OF(fuse, FUSION_FORM == Heads ? 256 : 512, FUSION_FORM == Heads ? 3 : 1, FusionArguments,
    fusion<FUSION_TYPE, FUSION_VECTOR, FUSION_FORM, FUSION_PLAIN>)
#else
template <class T, int V, Form F, bool Plain> __device__ __forceinline__ void fusion(const FusionArguments& args) {
    if constexpr (F == Heads) heads_forward<T, V, Plain>(args);
    else rows_forward<T, V, 2, F != Rows, F == Rest>(args);
}
KERNEL_OF(fuse, FUSION_FORM == Heads ? 256 : 512, FUSION_FORM == Heads ? 5 : 2, FusionArguments,
    fusion<FUSION_TYPE, FUSION_VECTOR, FUSION_FORM, FUSION_PLAIN>)
#endif
