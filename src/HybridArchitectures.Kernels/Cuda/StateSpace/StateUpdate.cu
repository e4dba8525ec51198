// One token of either scan: state = exp(delta a) state + delta x b, output = state c + skip x, and times silu(gate).
//
// A state row holds N numbers; `lanes` neighbouring lanes share one, V numbers each at a time. The selective scan has a row per channel and a rate
// per number, the state-space dual headSize rows per head and one rate; where N is one of the usual sizes, lanes take Rows rows of a head together,
// so that their reads are under way at once and b, c and the decay are made once for them. The states may lie in more slots than there are sequences:
// `slots` names each sequence's, or -1 for a row that is padding, whose output is 0 and which has no state. The state is read and written once, 8
// bytes a number, and everything else is small in comparison; about 5 operations a number. Limit on one H200 at 64 sequences x 64 heads x 64 x 128:
// 62 microseconds (reached: 70).
#include "common.cuh"

struct StepArguments {
    Typed x, timeStep, gate, b, c;                   // (batch, heads, headSize), (batch, heads), like x or null, (batch, groups, N) twice
    const float *a, *skip, *bias;                    // (heads, N) or (heads), (heads), (heads)
    const i64* slots;                                // (batch), or null where sequence i has slot i
    float* state;                                    // (slots, heads, headSize, N), updated in place
    TypedOutput output;
    i64 rows, heads, headSize, groups, states, lanes, ratePerState, softplus, slotCount;
    i64 xRow, timeStepRow, gateRow, bRow, cRow;      // elements from one sequence to the next
    float minimum, maximum;
};

template <int V> __device__ __forceinline__ void load_typed(const Typed& from, i64 at, float (&values)[V]) {
    if constexpr (V == 1) values[0] = from[at];
    else if (from.bfloat16) load<bfloat16, V>(from.base, at, values);
    else load<float, V>(from.base, at, values);
}

template <int V> __device__ __forceinline__ void state_update(const StepArguments& a) {
    // rows, heads and their like are below 2^31 (the host sees to it), where divisions are cheap; offsets are 64 bits wide
    using Index = unsigned;
    const Index lanes = static_cast<Index>(a.lanes), lane = threadIdx.x % lanes, headSize = static_cast<Index>(a.headSize),
        heads = static_cast<Index>(a.heads);
    const Index row = (blockIdx.x * (128 / lanes) + threadIdx.x / lanes), place = row / headSize, sequence = place / heads,
        head = place - sequence * heads;
    i64 slot = sequence;
    if (row >= a.rows) slot = -1;                    // a lane outside still takes part in the sums
    else if (a.slots) slot = a.slots[sequence] < a.slotCount ? a.slots[sequence] : -1;
    float sum = 0, x = 0;
    if (slot >= 0) {
        float* state = a.state + ((slot * heads + head) * headSize + (row - place * headSize)) * a.states;
        const i64 group = static_cast<i64>(head / (heads / static_cast<Index>(a.groups))) * a.states, keysAt = sequence * a.bRow + group,
            queriesAt = sequence * a.cRow + group;
        float delta = a.timeStep[sequence * a.timeStepRow + head] + (a.bias ? a.bias[head] : 0.f);
        if (a.softplus) delta = softplus<float>(delta);
        delta = delta < a.minimum ? a.minimum : delta > a.maximum ? a.maximum : delta;
        x = a.x[sequence * a.xRow + (row - sequence * heads * headSize)];
        const float added = delta * x, exponent = delta * log2_e;
        float decay = a.ratePerState ? 0 : exp2_of<float>(exponent * a.a[head]);
        for (i64 n = lane * V; n < a.states; n += lanes * V) {
            float old[V], keys[V], queries[V];
            load<float, V>(state, n, old);
            load_typed<V>(a.b, keysAt + n, keys);
            load_typed<V>(a.c, queriesAt + n, queries);
#pragma unroll
            for (int i = 0; i < V; i++) {
                if (a.ratePerState) decay = exp2_of<float>(exponent * a.a[head * a.states + n + i]);
                old[i] = decay * old[i] + added * keys[i];
                sum += old[i] * queries[i];
            }
            store<float, V>(state, n, old);
        }
    }
    sum = lane_sum(sum, static_cast<int>(lanes));
    if (row >= a.rows || lane) return;
    if (a.skip) sum += a.skip[head] * x;
    if (a.gate.base && slot >= 0) {
        float gate = a.gate[sequence * a.gateRow + (row - sequence * heads * headSize)];
        sum *= gate * sigmoid<float>(gate);
    }
    a.output.set(row, slot >= 0 ? sum : 0);
}

// The dual's states of 32 or 64 or 128 or 256 numbers, all tensors of one type: blockIdx names 4 x 32 / Lanes x Rows rows, the head and the sequence,
// so that no division stands before the first read; a row's numbers are read at once, 4 a lane and `Parts` times.
template <class E, int Lanes, int Parts, int Rows> __device__ __forceinline__ void state_update_rows(const StepArguments& a) {
    constexpr int N = Lanes * 4 * Parts;
    const int lane = threadIdx.x % Lanes;
    const i64 head = blockIdx.y, sequence = blockIdx.z, place = sequence * a.heads + head,
        within = (static_cast<i64>(blockIdx.x) * (128 / Lanes) + threadIdx.x / Lanes) * Rows;
    i64 slot = sequence;
    if (a.slots) slot = a.slots[sequence] < a.slotCount ? a.slots[sequence] : -1;
    const i64 row = place * a.headSize + within, inSequence = head * a.headSize + within;
    float sum[Rows];
    Raw<E, Rows> input = load_raw<E, Rows>(a.x.base, sequence * a.xRow + inSequence);
#pragma unroll
    for (int r = 0; r < Rows; r++) sum[r] = 0;
    if (slot >= 0) {
        float* state = a.state + ((slot * a.heads + head) * a.headSize + within) * N + lane * 4;
        const i64 group = head / (a.heads / a.groups) * N + lane * 4;
        Raw<float, 4> old[Parts][Rows];
        Raw<E, 4> keys[Parts], queries[Parts];
#pragma unroll
        for (int part = 0; part < Parts; part++) {
#pragma unroll
            for (int r = 0; r < Rows; r++) old[part][r] = load_raw<float, 4>(state, r * N + part * Lanes * 4);
            keys[part] = load_raw<E, 4>(a.b.base, sequence * a.bRow + group + part * Lanes * 4);
            queries[part] = load_raw<E, 4>(a.c.base, sequence * a.cRow + group + part * Lanes * 4);
        }
        float delta = load_one<E>(a.timeStep.base, sequence * a.timeStepRow + head) + (a.bias ? a.bias[head] : 0.f);
        if (a.softplus) delta = softplus<float>(delta);
        delta = delta < a.minimum ? a.minimum : delta > a.maximum ? a.maximum : delta;
        const float decay = exp2_of<float>(delta * log2_e * a.a[head]);
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int r = 0; r < Rows; r++) {
                float values[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    values[i] = decay * old[part][r][i] + delta * input[r] * keys[part][i];
                    sum[r] += values[i] * queries[part][i];
                }
                store<float, 4>(state, r * N + part * Lanes * 4, values);
            }
    }
    reduce_scatter<Rows, Lanes / 2, 1>(sum, lane);
    const int own = lane / (Lanes / Rows);           // the row whose sum this lane has
    if (lane % (Lanes / Rows)) return;
    float x = 0;
#pragma unroll
    for (int r = 0; r < Rows; r++) x = own == r ? input[r] : x;
    float result = sum[0] + (a.skip ? a.skip[head] * x : 0.f);
    if (a.gate.base) {
        const float gate = load_one<E>(a.gate.base, sequence * a.gateRow + inSequence + own);
        result *= gate * sigmoid<float>(gate);
    }
    store_one<E>(a.output.base, row + own, slot >= 0 ? result : 0.f);
}

#ifndef STATE_ROWS
#define STATE_ROWS 4                                 // the host has the same number
#endif

KERNEL(state_update_vector, 128, StepArguments, state_update<4>)
KERNEL(state_update_single, 128, StepArguments, state_update<1>)

#define STATE_UPDATE(N, Lanes, Parts) \
    KERNEL(state_update_rows_##N##_bfloat16, 128, StepArguments, state_update_rows<bfloat16, Lanes, Parts, STATE_ROWS>) \
    KERNEL(state_update_rows_##N##_float32, 128, StepArguments, state_update_rows<float, Lanes, Parts, STATE_ROWS>)

STATE_UPDATE(32, 8, 1)
STATE_UPDATE(64, 16, 1)
STATE_UPDATE(128, 32, 1)
STATE_UPDATE(256, 32, 2)
