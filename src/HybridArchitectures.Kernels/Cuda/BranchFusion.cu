// One branch, or two that meet in the same channels: normed over equal parts of its width, multiplied per channel, and added, subtracted or mixed by
// a gate per channel; and the gradients. (Two side by side are one after the other here.) One kernel, compiled for a type, a form and a direction
// (BranchFusionCut has the cuts):
//
// Heads: a part lies within a warp's lanes. A thread has one vector of 16 bytes of each branch, parts are summed by exchanges, nothing waits for a
// whole row. Without weights and gate a block takes a row, or 256 vectors of it; else it keeps to its columns over several rows, their factors in
// registers, backward with the next row loaded ahead. Rows: a part is a row, of up to 1024 vectors. A block has a row, a thread two vectors of each
// branch; backward it keeps to its columns over many rows, the next of which is copied to shared memory at the same time. Parts: the same for parts
// that are neither, whose vectors leave their sums in shared memory. Rest: the same for any width, and for elements that no vector fits: what is
// wider than a block holds is read again, and its gradients gather in memory.
//
// The gradients of weights and gate all follow from one sum over rows a branch and channel, of dy x / rms: it gathers in registers and is written
// once a block, to be added up over blocks in a fixed order. Bytes a row: forward 3 widths, backward 5. About 8 and 20 operations an element. On one
// H100 at 3.0 TB/s, 65536 x 4096 with 64 heads: bfloat16 0.555 and 0.917 ms of 0.542 and 0.904, float32 1.12 and 1.85 of 1.08 and 1.81; with weights
// and a gate 0.57 and 0.97, 1.13 and 1.89, over whole rows 0.54 and 1.00, 1.05 and 1.87.
#include "common.cuh"

enum Form { Heads, Rows, Parts, Rest };

#ifndef FUSION_TYPE                                  // some cut, where none is given
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
    float* inverse[2];                               // (rows, groups) of 1 / rms; null where a branch is not normed
    void* output;                                    // rows without gaps, forward; backward the gradient with respect to it, read
    void* dValues[2];                                // rows without gaps
    float *dWeights[2], *dGate;                      // (slices, width), or null
    i64 rows, slices, widths[2], groups[2], strides[2], outputStride;
    i64 parts[2];                                    // channels of a part
    int shifts[2];                                   // a part has 1 << shift vectors, where it lies within a warp
    float epsilon;
    int kind;
};

// what a branch's normed channels are multiplied by in the output, in addition to their weight
template <int V> __device__ __forceinline__ void shares_of(const FusionArguments& a, int branch, i64 at, float (&shares)[V]) {
    const bool mixed = a.kind == Mixed;
    channels_of<V>(mixed ? a.gate : nullptr, at, 0, shares);
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float share = mixed ? sigmoid(shares[i]) : 1;
        shares[i] = !branch ? share : mixed ? 1 - share : a.kind == Differing ? -1 : 1;
    }
}

template <int V, bool Plain> __device__ __forceinline__ void factors_of(const FusionArguments& a, int branch, i64 at, float (&factors)[V]) {
    if (Plain) {
#pragma unroll
        for (int i = 0; i < V; i++) factors[i] = branch && a.kind == Differing ? -1 : 1;
        return;
    }
    float weights[V];
    shares_of<V>(a, branch, at, factors);
    channels_of<V>(a.weights[branch], at, 1, weights);
#pragma unroll
    for (int i = 0; i < V; i++) factors[i] *= weights[i];
}

// ---- parts within a warp: a thread has one vector of a row, of each branch ----

template <class T, int V, bool Plain> __device__ __forceinline__ void heads_forward(const FusionArguments& a) {
    const i64 slice = blockIdx.x, at = (static_cast<i64>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
    const bool there[2] = {at < a.widths[0], at < a.widths[1]};
    struct Row { Raw<T, V> x[2]; };
    const auto fetch = [&](i64 row, Row& to) {
        if (row >= a.rows) return;
#pragma unroll
        for (int branch = 0; branch < 2; branch++)
            if (there[branch]) to.x[branch] = load_raw<T, V>(a.values[branch], row * a.strides[branch] + at);
    };
    Row now{};
    fetch(slice, now);
    float factors[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++)
        if (there[branch]) factors_of<V, Plain>(a, branch, at, factors[branch]);
    for (i64 row = slice; row < a.rows; row += a.slices) {
        float values[V];
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = 0;
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            float inverse = 1;
            if (a.groups[branch]) {
                const int lanes = 1 << a.shifts[branch];
                float sum = 0;
#pragma unroll
                for (int i = 0; i < V; i++) sum += now.x[branch][i] * now.x[branch][i];
                inverse = reciprocal_root(lane_sum(sum, lanes) / static_cast<float>(lanes * V) + a.epsilon);
                if (there[branch] && (threadIdx.x & (lanes - 1)) == 0)
                    a.inverse[branch][row * a.groups[branch] + (static_cast<unsigned>(at / V) >> a.shifts[branch])] = inverse;
            }
            if (there[branch])
#pragma unroll
                for (int i = 0; i < V; i++) values[i] += now.x[branch][i] * inverse * factors[branch][i];
        }
        if (there[0]) store<T, V>(a.output, row * a.outputStride + at, values);
        fetch(row + a.slices, now);
    }
}

// the gradients of weights and gate of V channels, from the sums over rows of dy n of both branches
template <int V> __device__ __forceinline__ void write_sums(
    const FusionArguments& a, i64 slice, i64 at, const float (&first)[V], const float (&second)[V]) {
    float shares[V], weights[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++) {
        if (at >= a.widths[branch] || !a.dWeights[branch]) continue;
        shares_of<V>(a, branch, at, shares);
#pragma unroll
        for (int i = 0; i < V; i++) a.dWeights[branch][slice * a.widths[branch] + at + i] = (branch ? second : first)[i] * shares[i];
    }
    if (at >= a.widths[0] || !a.dGate) return;
    shares_of<V>(a, 0, at, shares);
#pragma unroll
    for (int branch = 0; branch < 2; branch++) channels_of<V>(a.weights[branch], at, 1, weights[branch]);
#pragma unroll
    for (int i = 0; i < V; i++)
        a.dGate[slice * a.widths[0] + at + i] = (first[i] * weights[0][i] - second[i] * weights[1][i]) * shares[i] * (1 - shares[i]);
}

template <class T, int V, bool Plain> __device__ __forceinline__ void heads_backward(const FusionArguments& a) {
    const i64 slice = blockIdx.x, at = (static_cast<i64>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
    const bool there[2] = {at < a.widths[0], at < a.widths[1]};
    const int count[2] = {1 << a.shifts[0], 1 << a.shifts[1]};
    i64 part[2];
    float sums[2][V], factors[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++) {
        part[branch] = static_cast<unsigned>(at / V) >> a.shifts[branch];
#pragma unroll
        for (int i = 0; i < V; i++) sums[branch][i] = 0;
        if (there[branch]) factors_of<V, Plain>(a, branch, at, factors[branch]);
    }
    struct Row { Raw<T, V> x[2], dy; float inverse[2]; };
    const auto fetch = [&](i64 row, Row& to) {
        if (row >= a.rows) return;
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            to.inverse[branch] = 1;
            if (!there[branch]) continue;
            if (a.groups[branch]) to.inverse[branch] = a.inverse[branch][row * a.groups[branch] + part[branch]];
            to.x[branch] = load_raw<T, V>(a.values[branch], row * a.strides[branch] + at);
            if (!branch) to.dy = load_raw<T, V>(a.output, row * a.outputStride + at);
        }
    };
    Row now, next;
    fetch(slice, now);
    for (i64 row = slice; row < a.rows; row += a.slices) {
        if (!Plain) fetch(row + a.slices, next);
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
            // of dn n, times 1 / rms once more: what x is taken by
            if (a.groups[branch])
                mean = lane_sum(products, count[branch]) / static_cast<float>(count[branch] * V) * now.inverse[branch] * now.inverse[branch];
            if (!there[branch]) continue;
            float dx[V];
#pragma unroll
            for (int i = 0; i < V; i++) dx[i] = (now.dy[i] * factors[branch][i] - now.x[branch][i] * mean) * now.inverse[branch];
            store_stream<T, V>(a.dValues[branch], row * a.widths[branch] + at, dx);
        }
        if (!Plain) now = next; else fetch(row + a.slices, now);
    }
    if (!Plain) write_sums<V>(a, slice, at, sums[0], sums[1]);
}

// ---- parts of any width: a block has a row, a thread Kept vectors of it in registers, what is wider is read again ----

// What a block knows of a branch. A part as wide as the row is summed over the block; vectors of other parts leave their sums in shared memory, where
// warps add them up.
template <bool Parted> struct Branch {
    float *sums, *totals;                            // in shared memory: a number a warp or a vector, a number a part
    i64 width, groups;
    unsigned vectors;                                // of a part
    float size;

    __device__ __forceinline__ bool whole() const { return groups == 1; }
    __device__ __forceinline__ bool parted() const { return Parted && groups > 1; }
};

// the part of the vector at that column; a division of 32 bits, since one of 64 costs as much as the vector's sums
template <int V, bool Parted> __device__ __forceinline__ unsigned part_of(
    const Branch<Parted>& branch, i64 at) { return static_cast<unsigned>(at / V) / branch.vectors; }

enum { MostWarps = 16 };

// the branches' shared memory by turns in one half and the other, so that one barrier a row is enough where parts are whole rows; returns a half's
// numbers
template <int V, bool Parted> __device__ __forceinline__ i64 branches_of(const FusionArguments& a, float* shared, Branch<Parted> (&branches)[2]) {
    const float* start = shared;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        Branch<Parted>& branch = branches[i];
        branch.width = a.widths[i];
        branch.groups = a.groups[i];
        branch.vectors = static_cast<unsigned>(a.parts[i] / V);
        branch.size = static_cast<float>(a.parts[i]);
        branch.sums = shared;
        branch.totals = shared + (branch.parted() ? branch.groups * branch.vectors : MostWarps);
        shared = branch.totals + (branch.parted() ? branch.groups : 0);
    }
    return shared - start;
}

// the sum of one vector's products to where its part's are gathered
template <int V, bool Parted> __device__ __forceinline__ void gather(const Branch<Parted>& branch, i64 at, float sum, float& whole) {
    if (branch.parted()) branch.sums[at / V] = sum;
    else whole += sum;
}

// what was gathered, added up: of a whole row in `whole`, of other parts in the branches' totals, as finish(branch, part, sum) makes it
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
        if (branch.whole()) whole[b] = lane_sum(lane % MostWarps < warps ? branch.sums[lane % MostWarps] : 0.f, MostWarps);
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

// before the next row's sums: the other half is theirs, or where shared memory would not hold two, this one once all have read it
template <bool Parted, bool Wider> __device__ __forceinline__ void take_turns(Branch<Parted> (&branches)[2], i64& turn) {
    if (Wider) __syncthreads();
    else {
#pragma unroll
        for (int b = 0; b < 2; b++) { branches[b].sums += turn; branches[b].totals += turn; }
        turn = -turn;
    }
}

// the channels of a branch that a block holds
__device__ __forceinline__ int held_of(
    const FusionArguments& a, int branch, int most) { return static_cast<int>(a.widths[branch] < most ? a.widths[branch] : most); }

template <class T, int V, int Kept, bool Parted, bool Wider> __device__ __forceinline__ void rows_forward(const FusionArguments& a) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x * V, step = blockDim.x * V;
    const i64 slice = blockIdx.x;
    Branch<Parted> branches[2];
    i64 turn = branches_of<V, Parted>(a, shared, branches);
    const int held[2] = {held_of(a, 0, Kept * step), held_of(a, 1, Kept * step)};
    float factors[2][Kept][V];
    unsigned part[2][Kept];
    struct Row { Raw<T, V> x[2][Kept]; };
    const auto fetch = [&](i64 row, Row& to) {
        if (row >= a.rows) return;
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) to.x[b][k] = load_raw<T, V>(a.values[b], row * a.strides[b] + k * step + lane);
    };
    Row now;
    fetch(slice, now);
#pragma unroll
    for (int b = 0; b < 2; b++)
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * step + lane < held[b]) {
                if (!Parted) factors_of<V, false>(a, b, k * step + lane, factors[b][k]);
                if (branches[b].parted()) part[b][k] = part_of<V>(branches[b], k * step + lane);
            }
    const auto squares_of = [&](const Raw<T, V>& x) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < V; i++) sum += x[i] * x[i];
        return sum;
    };
    for (i64 row = slice; row < a.rows; row += a.slices) {
        float whole[2] = {0, 0};
#pragma unroll
        for (int b = 0; b < 2; b++) {
            const Branch<Parted>& branch = branches[b];
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) gather<V, Parted>(branch, k * step + lane, squares_of(now.x[b][k]), whole[b]);
            for (i64 at = Wider ? Kept * step + lane : branch.width; at < branch.width; at += step)
                gather<V, Parted>(branch, at, squares_of(load_raw<T, V>(a.values[b], row * a.strides[b] + at)), whole[b]);
        }
        add_up<Parted>(branches, whole, [&](int b, i64 group, float sum) {
            return a.inverse[b][row * branches[b].groups + group] = reciprocal_root(sum / branches[b].size + a.epsilon);
        });
#pragma unroll
        for (int b = 0; b < 2; b++)
            if (branches[b].whole()) {
                whole[b] = reciprocal_root(whole[b] / branches[b].size + a.epsilon);
                if (threadIdx.x == 0) a.inverse[b][row] = whole[b];
            }
        const auto inverse_of = [&](int b, unsigned part) { return branches[b].whole() ? whole[b] : branches[b].parted() ? branches[b].totals[part]
            : 1.f; };
        const auto add = [&](int b, i64 at, unsigned part, const Raw<T, V>& x, const float (&known)[V], float (&values)[V]) {
            const float inverse = inverse_of(b, part);
            float its[V];
            if (Parted) factors_of<V, false>(a, b, at, its);     // held they would take the registers of half the threads
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
            store<T, V>(a.output, row * a.outputStride + at, values);
        }
        for (i64 at = Wider ? Kept * step + lane : branches[0].width; at < branches[0].width; at += step) {
            float values[V] = {};
#pragma unroll
            for (int b = 0; b < 2; b++)
                if (at < branches[b].width)
                    add(b, at, branches[b].parted() ? part_of<V>(branches[b], at) : 0, load_raw<T, V>(a.values[b], row * a.strides[b] + at),
                        factors[b][0], values);
            store<T, V>(a.output, row * a.outputStride + at, values);
        }
        if (!Parted) break;                          // the host starts a block for every row then
        fetch(row + a.slices, now);
        take_turns<Parted, Wider>(branches, turn);
    }
}

// Stages: rows that are held in shared memory, all but one of them on their way; 0: the next row is loaded after this one's results
template <class T, int V, int Kept, bool Parted, bool Wider, int Stages> __device__ __forceinline__ void rows_backward(const FusionArguments& a) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x * V, step = blockDim.x * V;
    const i64 slice = blockIdx.x;
    Branch<Parted> branches[2];
    i64 turn = branches_of<V, Parted>(a, shared, branches);
    const int held[2] = {held_of(a, 0, Kept * step), held_of(a, 1, Kept * step)};
    float sums[2][Kept][V], factors[2][Kept][V];
    unsigned part[2][Kept];
#pragma unroll
    for (int b = 0; b < 2; b++)
#pragma unroll
        for (int k = 0; k < Kept; k++) {
#pragma unroll
            for (int i = 0; i < V; i++) sums[b][k][i] = 0;
            if (k * step + lane < held[b]) {
                factors_of<V, false>(a, b, k * step + lane, factors[b][k]);
                if (branches[b].parted()) part[b][k] = part_of<V>(branches[b], k * step + lane);
            }
        }
    const auto inverse_of = [&](i64 row, int b, unsigned part) {
        const Branch<Parted>& branch = branches[b];
        return branch.whole() ? a.inverse[b][row] : branch.parted() ? a.inverse[b][row * branch.groups + part] : 1.f;
    };
    const auto part_at = [&](int b, i64 at) { return branches[b].parted() ? part_of<V>(branches[b], at) : 0; };
    const auto place = [&](int b, i64 row, i64 at) { return static_cast<const T*>(b < 2 ? a.values[b] : a.output)
        + row * (b < 2 ? a.strides[b] : a.outputStride) + at; };
    // 0 and 1: the branches; 2: dy
    Raw<T, V> loaded[Stages ? 1 : 3][Stages ? 1 : Kept];
    Raw<T, V>* ring = reinterpret_cast<Raw<T, V>*>(shared + (2 * turn + 3) / 4 * 4) + threadIdx.x;
    const auto slot = [&](int stage, int b, int k) { return ring + ((stage * 3 + b) * Kept + k) * blockDim.x; };
    float inverse[2][Kept], following[2][Kept];
    const auto fetch_inverse = [&](i64 row, float (&to)[2][Kept]) {
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int k = 0; k < Kept; k++) {
                to[b][k] = row >= a.rows || k * step + lane >= held[b] ? 1.f : k && !Parted ? to[b][0] : inverse_of(row, b, part[b][k]);
            }
    };
    const auto fetch = [&](i64 row, int stage) {
        if (row < a.rows)
#pragma unroll
            for (int b = 0; b < 3; b++)
#pragma unroll
                for (int k = 0; k < Kept; k++) {
                    const int at = k * step + lane;
                    if (at >= held[b == 1 ? 1 : 0]) continue;
                    if constexpr (Stages > 0) copy_async<16>(slot(stage, b, k), place(b, row, at), true);
                    else loaded[b][k] = load_raw<T, V>(place(b, row, at), 0);
                }
        if constexpr (Stages > 0) copy_commit();
    };
    int stage = 0;
    const auto vector = [&](int b, int k) {
        if constexpr (Stages > 0) return *slot(stage, b, k); else return loaded[b][k];
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
    for (int i = 0; i < (Stages ? Stages - 1 : 1); i++) fetch(slice + i * a.slices, i);
    for (i64 row = slice; row < a.rows; row += a.slices) {
        if constexpr (Stages > 0) {
            fetch(row + (Stages - 1) * a.slices, stage ? stage - 1 : Stages - 1);
            fetch_inverse(row + a.slices, following);
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
            // what is wider: sums over rows gather where they are written
            for (i64 at = Wider ? Kept * step + lane : branch.width; at < branch.width; at += step) {
                float its[V], added[V], shares[V], weights[V];
                factors_of<V, false>(a, b, at, its);
#pragma unroll
                for (int i = 0; i < V; i++) added[i] = 0;
                gather<V, Parted>(branch, at,
                    products_of(load_raw<T, V>(place(b, row, at), 0), load_raw<T, V>(place(2, row, at), 0), inverse_of(row, b, part_at(b, at)), its,
                    added), whole[b]);
                float *to = a.dWeights[b] ? a.dWeights[b] + slice * branch.width + at : nullptr,
                    *gate = a.dGate ? a.dGate + slice * branch.width + at : nullptr;
                shares_of<V>(a, b, at, shares);
                channels_of<V>(a.weights[b], at, 1, weights);
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
            store_stream<T, V>(a.dValues[b], row * branch.width + at, dx);
        };
#pragma unroll
        for (int b = 0; b < 2; b++) {
#pragma unroll
            for (int k = 0; k < Kept; k++)
                if (k * step + lane < held[b]) finish(b, k * step + lane, part[b][k], vector(b, k), vector(2, k), inverse[b][k], factors[b][k]);
            for (i64 at = Wider ? Kept * step + lane : branches[b].width; at < branches[b].width; at += step) {
                float its[V];
                factors_of<V, false>(a, b, at, its);
                finish(b, at, part_at(b, at), load_raw<T, V>(place(b, row, at), 0), load_raw<T, V>(place(2, row, at), 0),
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
            fetch_inverse(row + a.slices, inverse);
            fetch(row + a.slices, 0);
        }
        take_turns<Parted, Wider>(branches, turn);
    }
#pragma unroll
    for (int k = 0; k < Kept; k++) write_sums<V>(a, slice, k * step + lane, sums[0][k], sums[1][k]);
}

#if FUSION_BACKWARD
template <class T, int V, Form F, bool Plain> __device__ __forceinline__ void fusion(const FusionArguments& a) {
    if constexpr (F == Heads) heads_backward<T, V, Plain>(a);
    else rows_backward<T, V, 2, F != Rows, F == Rest, F == Rest ? 0 : 2>(a);
}
KERNEL_OF(fuse, FUSION_FORM == Heads ? 256 : 512, FUSION_FORM == Heads ? 3 : 1, FusionArguments,
    fusion<FUSION_TYPE, FUSION_VECTOR, FUSION_FORM, FUSION_PLAIN>)
#else
template <class T, int V, Form F, bool Plain> __device__ __forceinline__ void fusion(const FusionArguments& a) {
    if constexpr (F == Heads) heads_forward<T, V, Plain>(a);
    else rows_forward<T, V, 2, F != Rows, F == Rest>(a);
}
KERNEL_OF(fuse, FUSION_FORM == Heads ? 256 : 512, FUSION_FORM == Heads ? 5 : 2, FusionArguments,
    fusion<FUSION_TYPE, FUSION_VECTOR, FUSION_FORM, FUSION_PLAIN>)
#endif
