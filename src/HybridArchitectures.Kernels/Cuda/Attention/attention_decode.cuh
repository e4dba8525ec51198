// Decoding: attention of a few queries per row over a key/value cache whose lengths are on the device. What its kernels share.
//
// A row's keys are divided into parts of equal size; a block of four warps takes one part for all query heads that share a key head, and leaves a
// maximum, a sum of exponentials and a weighted sum of values for each query and head. The block of a row and key head that ends last adds the parts
// up in their order, so that results do not depend on which block that is. The size of a part follows from the row's own length alone, so that a
// row's result does not depend on the other rows. Blocks past the end of a row leave at once.
//
// Exponents are in base 2: a score s counts as s * scale * log2(e).
#pragma once
#include "tensor_cores.cuh"

// the host compiles the kernels once for each shape it meets
#ifndef DECODE_D
#define DECODE_D 64             // elements of a query's and a key's head, rounded up to 16 (bfloat16) or 32 (float32)
#define DECODE_E 64             // elements of a value's head, likewise
#define DECODE_ROWS 16          // queries times heads that a block takes
#define DECODE_UNIT 64          // keys of the smallest part
#define DECODE_CAP 0            // whether scores are capped
#define DECODE_AHEAD 16         // parts whose sums are loaded at a time, where there are up to 32
#endif

constexpr int D = DECODE_D, E = DECODE_E, Rows = DECODE_ROWS, Warps = 4, Unit = DECODE_UNIT;
constexpr bool Capped = DECODE_CAP;
// floats between the weighted sums of two rows in shared memory
constexpr int SumStride = E + 4;

struct DecodeArguments {
    const void *query, *keys, *values;
    const int* lengths;             // (batch)
    const float* sinkLogits;        // (heads), or null
    void* output;                   // (batch, queries, heads, valueSize)
    float* sums;                    // (batch, groups, parts, rows, E), where there are several parts
    Two* states;                    // (batch, groups, parts, rows): maximum and sum
    int* arrivals;                  // (batch, groups): 0 before and after
    i64 queryRow, queryToken, queryHead, keyRow, keyToken, keyHead, valueRow, valueToken, valueHead;      // elements between neighbours
    i64 queries, heads, keyHeads, capacity, headSize, valueSize;
    i64 window, sinks, ring;        // the window is 2^30 where there is none; ring is 0 or 1
    i64 maxParts, parts;            // the largest number of parts of a row; the number that the grid has room for
    i64 rows;                       // of a block that are there: at most Rows
    float scale, cap;               // multipliers of scores before and after the cap, the latter including log2(e)
};
static_assert(sizeof(DecodeArguments) == (9 + 9 + 12) * 8 + 2 * 4, "as the host has it");

__device__ __forceinline__ float minus_infinity() { return as_float(0xff800000u); }
__device__ __forceinline__ int lesser(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int greater(int a, int b) { return a > b ? a : b; }

// Which keys of its row a block takes. Keys are numbered from 0 to `count`: first the sinks, then those of the window (or all, in the order of
// slots).
struct DecodePlan {
    int row, keyHead, group, first, last;           // the batch row; the key head; the first query and head of the block, as rows; its keys
    int length, count, sinks, shift, parts;
    int perHead;                                    // query heads of a key head
    int ringLast, ringSize;

    __device__ __forceinline__ explicit DecodePlan(const DecodeArguments& args) {
        const int queries = static_cast<int>(args.queries);
        perHead = static_cast<int>(args.heads) / static_cast<int>(args.keyHeads);
        const int groups = (queries * perHead + Rows - 1) / Rows;
        row = static_cast<int>(blockIdx.z);
        keyHead = static_cast<int>(blockIdx.x) / groups;
        group = (static_cast<int>(blockIdx.x) - keyHead * groups) * Rows;
        length = greater(args.lengths[row], 0);
        sinks = shift = ringLast = ringSize = 0;
        if (args.ring) {
            sinks = static_cast<int>(args.sinks);
            ringSize = static_cast<int>(args.capacity) - sinks;
            ringLast = length > sinks ? (length - 1 - sinks) % ringSize : -1;
            count = lesser(length, static_cast<int>(args.capacity));
        } else {
            length = lesser(length, static_cast<int>(args.capacity));
            const int low = greater(length - queries + 1 - static_cast<int>(args.window), 0);
            sinks = lesser(static_cast<int>(args.sinks), low);
            shift = low - sinks;
            count = length - shift;
        }
        int size = Unit;
        while (static_cast<i64>(size) * args.maxParts < count) size *= 2;
        parts = (count + size - 1) / size;
        first = static_cast<int>(blockIdx.y) * size;
        last = lesser(first + size, count);
    }

    // whether the block has nothing to do; without any key, the first part writes zeros
    __device__ __forceinline__ bool idle() const { return static_cast<int>(blockIdx.y) >= greater(parts, 1); }

    __device__ __forceinline__ int slot(int key) const { return key < sinks ? key : key + shift; }

    __device__ __forceinline__ int position(int key) const {
        if (ringSize == 0 || key < sinks) return slot(key);
        const int back = ringLast - (key - sinks);
        return length - 1 - (back < 0 ? back + ringSize : back);
    }

    // whether the keys from one up to before another were in the cache before the tokens of the queries; the product before may write those
    __device__ __forceinline__ bool are_old(const DecodeArguments& args, int from, int to) const {
        const int queries = static_cast<int>(args.queries);
        if (ringSize == 0) return slot(lesser(to, last) - 1) < length - queries;
        for (int query = 0; query < queries && query < length; query++) {
            const int own = length - 1 - query, back = ringLast - query;
            const int key = own < sinks ? own : sinks + (back < 0 ? back + ringSize : back);
            if (key >= from && key < to) return false;
        }
        return true;
    }

    // whether every query sees all keys from one up to before another
    __device__ __forceinline__ bool all_see(const DecodeArguments& args, int from, int to) const {
        if (to > last) return false;
        if (ringSize > 0) return args.queries == 1 && ringSize == args.window;
        if (shift == 0 && length <= args.window) return to <= length - static_cast<int>(args.queries) + 1;
        return from >= sinks && slot(from) > length - 1 - static_cast<int>(args.window) && slot(to - 1) <= length - static_cast<int>(args.queries);
    }

    __device__ __forceinline__ bool sees(const DecodeArguments& args, int query, int key) const {
        const int own = length - static_cast<int>(args.queries) + query, other = position(key);
        return key < last && other <= own && (own - other < args.window || other < args.sinks);
    }
};

// a product of query and key as an exponent
template <class T> __device__ __forceinline__ float exponent_of(const DecodeArguments& args, float product) {
    const float x = product * args.scale;
    if constexpr (!Capped) return x;
    // tanh(x) = 1 - 2 / (1 + e^(2 x)); beyond 40 it is 1 to the last place
    const float limited = x > 40.f ? 40.f : x;
    return args.cap * (1 - quotient<T>(2.f, 1 + exponential<T>(2 * limited)));
}

// Returns the next number of a counter, for one thread of a block that has met. What the block wrote before is visible to the block that receives the
// last number after it has met again.
__device__ __forceinline__ int arrive_at(int* counter) {
#ifdef HYBRID_EMULATION
    return (*counter)++;
#else
    int number;
    asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], 1;" : "=r"(number) : "l"(counter) : "memory");
    return number;
#endif
}

// ---- adding parts up: first those of a block's warps, then those of the blocks of a row and key head ----

// What parts of each row amount to: weights of the parts for each row in shared memory, and each row's maximum and sum.
struct Weights {
    float* of;                      // (Rows, parts)
    Two* totals;                    // (Rows)
    int parts;

    // neighbouring columns of a row that a thread adds up: the four heads of 64 elements of a key head are work for a whole block
    static constexpr int Columns = E >= 128 ? 4 : 2;

    // Every load here is of an address that exists, also past the last part, row or column: under a condition, a compiler may wait for each load
    // before it decides about the next, and 32 parts then cost 32 latencies.

    // states: the function of part and row, of up to Most parts; by the whole block, which must have met before
    template <int Most, class States> __device__ __forceinline__ void weigh(int rows, const States& states) const {
        // the loads of several rows first: they may come from memory
        constexpr int Lots = Most / 32, Own = Lots > 1 ? 1 : (Rows + Warps - 1) / Warps;
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 1
        for (int first = warp; first < rows; first += Own * Warps) {
            Two own[Own][Lots];
#pragma unroll
            for (int ownRow = 0; ownRow < Own; ownRow++)
#pragma unroll
                for (int i = 0; i < Lots; i++) own[ownRow][i] = states(lesser(lane + 32 * i, parts - 1), lesser(first + ownRow * Warps, rows - 1));
#pragma unroll
            for (int ownRow = 0; ownRow < Own; ownRow++)
                if (first + ownRow * Warps < rows) weigh_row<Lots>(first + ownRow * Warps, own[ownRow]);
        }
        __syncthreads();
    }

    // own: the lane's parts of a row, and any others past the last part
    template <int Lots> __device__ __forceinline__ void weigh_row(int row, const Two (&own)[Lots]) const {
        const int lane = threadIdx.x % 32;
        float most = minus_infinity(), total = 0;
#pragma unroll
        for (int i = 0; i < Lots; i++) most = lane + 32 * i < parts && own[i].x > most ? own[i].x : most;
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2) {
            const float other = from_lane_xor(most, offset);
            most = other > most ? other : most;
        }
        const float base = most == minus_infinity() ? 0.f : most;
#pragma unroll
        for (int i = 0; i < Lots; i++) {
            const bool there = lane + 32 * i < parts;
            const float weight = exp2_approximate((there ? own[i].x : minus_infinity()) - base);
            total += weight * (there ? own[i].y : 0.f);
            if (there) of[row * parts + lane + 32 * i] = weight;
        }
        total = lane_sum(total, 32);
        if (lane == 0) totals[row] = {most, total};
    }

    // sums: the function of part and row, which points to E floats; give: what is done with Columns columns of a row. `ahead` holds the sums of the
    // first parts for the first columns of the thread; as many are loaded at a time later.
    template <class Sums, int Ahead, class Give>
    __device__ __forceinline__ void add_up(int rows, const Sums& sums, const Raw<float, Columns> (&ahead)[Ahead], const Give& give) const {
        for (int item = threadIdx.x; item < rows * (E / Columns); item += 32 * Warps) {
            const int row = item / (E / Columns), column = item % (E / Columns) * Columns;
            float total[Columns] = {};
            int part = 0;
            if (item == static_cast<int>(threadIdx.x)) {
                add(total, row, 0, ahead);
                part = Ahead;
            }
            for (; part < parts; part += Ahead) {
                Raw<float, Columns> own[Ahead];
#pragma unroll
                for (int i = 0; i < Ahead; i++) own[i] = load_raw<float, Columns>(sums(lesser(part + i, parts - 1), row), column);
                add(total, row, part, own);
            }
            give(row, column, total);
        }
    }

    template <int Ahead, class Sums>
    __device__ __forceinline__ void load_ahead(int rows, const Sums& sums, Raw<float, Columns> (&ahead)[Ahead]) const {
        const int item = lesser(threadIdx.x, rows * (E / Columns) - 1);
#pragma unroll
        for (int i = 0; i < Ahead; i++)
            ahead[i] = load_raw<float, Columns>(sums(lesser(i, parts - 1), item / (E / Columns)), item % (E / Columns) * Columns);
    }

    // adds the sums of several parts in their order; those past the last part count as zeros
    template <int Count>
    __device__ __forceinline__ void add(float (&total)[Columns], int row, int firstPart, const Raw<float, Columns> (&own)[Count]) const {
#pragma unroll
        for (int i = 0; i < Count; i++) {
            const bool there = firstPart + i < parts;
            const float weight = of[row * parts + lesser(firstPart + i, parts - 1)];
#pragma unroll
            for (int e = 0; e < Columns; e++) total[e] += weight * (there ? own[i][e] : 0.f);
        }
    }
};

template <class T> __device__ __forceinline__ void write_output(const DecodeArguments& args, const DecodePlan& plan, int row, int column,
    const Two& state, const float (&sums)[Weights::Columns]) {
    if (column >= args.valueSize) return;
    const int perHead = plan.perHead, number = plan.group + row;
    const int query = number / perHead, head = plan.keyHead * perHead + number % perHead;
    float most = state.x, total = state.y, factor = 1;
    if (args.sinkLogits) {
        const float logit = args.sinkLogits[head] * log2_e, higher = logit > most ? logit : most;
        factor = exp2_approximate(most - higher);
        total = total * factor + exp2_approximate(logit - higher);
    }
    factor = total > 0 ? factor / total : 0.f;
    float output[Weights::Columns];
#pragma unroll
    for (int i = 0; i < Weights::Columns; i++) output[i] = sums[i] * factor;
    store<T, Weights::Columns>(args.output, ((plan.row * args.queries + query) * args.heads + head) * args.valueSize + column, output);
}

// Adds up the parts of the blocks of a row and key head, at most Most, of which Ahead are loaded at a time.
template <class T, int Ahead, int Most, class States, class Sums> __device__ __forceinline__ void add_parts(
    const DecodeArguments& args, const DecodePlan& plan, const Weights& all, int rows, const States& states, const Sums& sums) {
    // with the states, not after them: all come from the second-level cache
    Raw<float, Weights::Columns> ahead[Ahead];
    all.load_ahead(rows, sums, ahead);
    all.weigh<Most>(rows, states);
    all.add_up(rows, sums, ahead,
        [&](int row, int column, const float (&sum)[Weights::Columns]) { write_output<T>(args, plan, row, column, all.totals[row], sum); });
}

// Adds up the parts of the block's warps; give: what is done with a row's state and Columns columns of its sums.
template <class Give> __device__ __forceinline__ void add_warps(const float* shared, const Two* states, int rows, const Give& give) {
    constexpr int Columns = Weights::Columns;
    for (int item = threadIdx.x; item < rows * (E / Columns); item += 32 * Warps) {
        const int row = item / (E / Columns), column = item % (E / Columns) * Columns;
        Two own[Warps];
        float most = minus_infinity(), totals[Warps], sum[Columns] = {};
#pragma unroll
        for (int warp = 0; warp < Warps; warp++) {
            own[warp] = states[warp * Rows + row];
            most = own[warp].x > most ? own[warp].x : most;
        }
        const float base = most == minus_infinity() ? 0.f : most;
#pragma unroll
        for (int warp = 0; warp < Warps; warp++) {
            const float weight = exp2_approximate(own[warp].x - base);
            const Raw<float, Columns> part = load_raw<float, Columns>(shared, (warp * Rows + row) * SumStride + column);
            totals[warp] = weight * own[warp].y;
#pragma unroll
            for (int e = 0; e < Columns; e++) sum[e] += weight * part[e];
        }
        give(row, column, Two{most, totals[0] + totals[2] + (totals[1] + totals[3])}, sum);
    }
}

// The warps' parts are in shared memory: (Warps, Rows, SumStride) sums, then (Warps, Rows) states. All threads have met. Past them is room for Rows
// totals and (Rows, parts) weights.
template <class T> __device__ __forceinline__ void finish(const DecodeArguments& args, const DecodePlan& plan, float* shared) {
    const int rows = lesser(Rows, static_cast<int>(args.queries) * plan.perHead - plan.group);
    Two* states = reinterpret_cast<Two*>(shared + Warps * Rows * SumStride);
    Two* totals = states + Warps * Rows;
    if (plan.parts <= 1) {
        add_warps(shared, states, rows, [&](int row, int column, const Two& state, const float (&sum)[Weights::Columns]) {
            write_output<T>(args, plan, row, column, state, sum);
        });
        return;
    }
    const i64 line = static_cast<i64>(plan.row) * gridDim.x + blockIdx.x, at = line * args.parts;
    const int stride = static_cast<int>(args.rows);
    float* allSums = args.sums + at * stride * E;
    Two* allStates = args.states + at * stride;
    add_warps(shared, states, rows, [&](int row, int column, const Two& state, const float (&sum)[Weights::Columns]) {
        store<float, Weights::Columns>(allSums, (static_cast<int>(blockIdx.y) * stride + row) * E + column, sum);
        if (column == 0) allStates[blockIdx.y * stride + row] = state;
    });
    int* last = reinterpret_cast<int*>(states);
    __syncthreads();
    if (threadIdx.x == 0) {
        *last = arrive_at(args.arrivals + line) == plan.parts - 1;
        if (*last) args.arrivals[line] = 0;
    }
    __syncthreads();
    if (!*last) return;
    const Weights all = {reinterpret_cast<float*>(totals + Rows), totals, plan.parts};
    // at most 128 parts of 32 rows
    const auto sumsOfParts = [&](int part, int row) { return allSums + (part * stride + row) * E; };
    const auto statesOfParts = [&](int part, int row) { return allStates[part * stride + row]; };
    if (plan.parts <= 4) add_parts<T, 4, 32>(args, plan, all, rows, statesOfParts, sumsOfParts);
    else if (plan.parts <= 32) add_parts<T, DECODE_AHEAD, 32>(args, plan, all, rows, statesOfParts, sumsOfParts);
    else add_parts<T, 16, 128>(args, plan, all, rows, statesOfParts, sumsOfParts);
}
