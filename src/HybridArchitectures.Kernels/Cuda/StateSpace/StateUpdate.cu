// One token of either scan: state = exp(dt A) state + dt x B, output = (C.state + D x) silu(z).
//
// A row of the state has N numbers, which `lanes` neighbouring lanes share, V numbers each at a time. The selective scan has one row per channel and
// one A per number. The state-space dual has headSize rows per head and one A per head. If N is 32, 64, 128 or 256, lanes process Rows rows of a head
// together: their reads overlap, and B, C and the decay are computed once for them. The states can be in more slots than there are sequences. `slots`
// contains the slot of each sequence, or -1 for a padding row, whose output is 0 and which has no state.
//
// The state is read and written once, 8 bytes per number, and all other data are small in comparison. There are about 5 operations per number. Limit
// on one H200 for 64 sequences x 64 heads x 64 x 128: 62 us (measured: 70 us).
#include "common.cuh"

struct StepArguments {
    Typed x, dt, z, B, C;  // (batch, heads, headSize), (batch, heads), like x or null, (batch, groups, N) twice
    const float *A, *D, *dtBias;  // (heads, N) or (heads), (heads), (heads)
    const i64* slots;  // (batch), or null if sequence i has slot i
    float* state;                                    // (slots, heads, headSize, N), updated in place
    TypedOutput output;
    i64 rows, heads, headSize, groups, states, lanes, aPerState, softplus, slotCount;
    i64 xRow, dtRow, zRow, bRow, cRow;  // elements between sequences
    float minDt, maxDt;
};

template <int V> __device__ __forceinline__ void load_typed(const Typed& from, i64 at, float (&values)[V]) {
    if constexpr (V == 1) values[0] = from[at];
    else if (from.bfloat16) load<bfloat16, V>(from.base, at, values);
    else load<float, V>(from.base, at, values);
}

template <int V> __device__ __forceinline__ void state_update(const StepArguments& args) {
    // The host ensures that rows and heads are below 2^31, where divisions are cheap. Offsets have 64 bits.
    using Index = unsigned;
    const Index lanes = static_cast<Index>(args.lanes), lane = threadIdx.x % lanes, headSize = static_cast<Index>(args.headSize),
        heads = static_cast<Index>(args.heads);
    const Index row = (blockIdx.x * (128 / lanes) + threadIdx.x / lanes), rowOfHeads = row / headSize, sequence = rowOfHeads / heads,
        head = rowOfHeads - sequence * heads;
    i64 slot = sequence;
    if (row >= args.rows) slot = -1;  // a lane without a row still takes part in the sums
    else if (args.slots) slot = args.slots[sequence] < args.slotCount ? args.slots[sequence] : -1;
    float sum = 0, x = 0;
    if (slot >= 0) {
        float* state = args.state + ((slot * heads + head) * headSize + (row - rowOfHeads * headSize)) * args.states;
        const i64 group = static_cast<i64>(head / (heads / static_cast<Index>(args.groups))) * args.states, bAt = sequence * args.bRow + group,
            cAt = sequence * args.cRow + group;
        float dt = args.dt[sequence * args.dtRow + head] + (args.dtBias ? args.dtBias[head] : 0.f);
        if (args.softplus) dt = softplus<float>(dt);
        dt = dt < args.minDt ? args.minDt : dt > args.maxDt ? args.maxDt : dt;
        x = args.x[sequence * args.xRow + (row - sequence * heads * headSize)];
        const float added = dt * x, exponent = dt * log2_e;
        float decay = args.aPerState ? 0 : exp2_of<float>(exponent * args.A[head]);
        for (i64 n = lane * V; n < args.states; n += lanes * V) {
            float old[V], bs[V], cs[V];
            load<float, V>(state, n, old);
            load_typed<V>(args.B, bAt + n, bs);
            load_typed<V>(args.C, cAt + n, cs);
#pragma unroll
            for (int i = 0; i < V; i++) {
                if (args.aPerState) decay = exp2_of<float>(exponent * args.A[head * args.states + n + i]);
                old[i] = decay * old[i] + added * bs[i];
                sum += old[i] * cs[i];
            }
            store<float, V>(state, n, old);
        }
    }
    sum = lane_sum(sum, static_cast<int>(lanes));
    if (row >= args.rows || lane) return;
    if (args.D) sum += args.D[head] * x;
    if (args.z.base && slot >= 0) {
        float gate = args.z[sequence * args.zRow + (row - sequence * heads * headSize)];
        sum *= gate * sigmoid<float>(gate);
    }
    args.output.set(row, slot >= 0 ? sum : 0);
}

// The states of the dual with 32, 64, 128 or 256 numbers, for tensors of one type. blockIdx selects 4 x 32 / Lanes x Rows rows, the head and the
// sequence, so no division is needed before the first read. The numbers of a row are read at once, 4 per lane, `Parts` times.
template <class E, int Lanes, int Parts, int Rows> __device__ __forceinline__ void state_update_rows(const StepArguments& args) {
    constexpr int N = Lanes * 4 * Parts;
    const int lane = threadIdx.x % Lanes;
    const i64 head = blockIdx.y, sequence = blockIdx.z, rowOfHeads = sequence * args.heads + head,
        within = (static_cast<i64>(blockIdx.x) * (128 / Lanes) + threadIdx.x / Lanes) * Rows;
    i64 slot = sequence;
    if (args.slots) {
        wait_for_previous();
        slot = args.slots[sequence] < args.slotCount ? args.slots[sequence] : -1;
    }
    const i64 row = rowOfHeads * args.headSize + within, inSequence = head * args.headSize + within;
    float* state = args.state + ((slot * args.heads + head) * args.headSize + within) * N + lane * 4;
    Raw<float, 4> old[Parts][Rows];
    // the states are those of the token before: no kernel since then has written them
    if (slot >= 0)
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int r = 0; r < Rows; r++) old[part][r] = load_raw<float, 4>(state, r * N + part * Lanes * 4);
    wait_for_previous();
    float sum[Rows];
    Raw<E, Rows> input = load_raw<E, Rows>(args.x.base, sequence * args.xRow + inSequence);
#pragma unroll
    for (int r = 0; r < Rows; r++) sum[r] = 0;
    if (slot >= 0) {
        const i64 group = head / (args.heads / args.groups) * N + lane * 4;
        Raw<E, 4> bs[Parts], cs[Parts];
#pragma unroll
        for (int part = 0; part < Parts; part++) {
            bs[part] = load_raw<E, 4>(args.B.base, sequence * args.bRow + group + part * Lanes * 4);
            cs[part] = load_raw<E, 4>(args.C.base, sequence * args.cRow + group + part * Lanes * 4);
        }
        float dt = load_one<E>(args.dt.base, sequence * args.dtRow + head) + (args.dtBias ? args.dtBias[head] : 0.f);
        if (args.softplus) dt = softplus<float>(dt);
        dt = dt < args.minDt ? args.minDt : dt > args.maxDt ? args.maxDt : dt;
        const float decay = exp2_of<float>(dt * log2_e * args.A[head]);
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int r = 0; r < Rows; r++) {
                float values[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    values[i] = decay * old[part][r][i] + dt * input[r] * bs[part][i];
                    sum[r] += values[i] * cs[part][i];
                }
                store<float, 4>(state, r * N + part * Lanes * 4, values);
            }
    }
    reduce_scatter<Rows, Lanes / 2, 1>(sum, lane);
    const int stateValues = lane / (Lanes / Rows);  // the row whose sum this lane has
    if (lane % (Lanes / Rows)) return;
    float x = 0;
#pragma unroll
    for (int r = 0; r < Rows; r++) x = stateValues == r ? input[r] : x;
    float result = sum[0] + (args.D ? args.D[head] * x : 0.f);
    if (args.z.base) {
        const float gate = load_one<E>(args.z.base, sequence * args.zRow + inSequence + stateValues);
        result *= gate * sigmoid<float>(gate);
    }
    store_one<E>(args.output.base, row + stateValues, slot >= 0 ? result : 0.f);
}

#ifndef STATE_ROWS
#define STATE_ROWS 4  // the host has the same number
#endif

KERNEL(state_update_vector, 128, StepArguments, state_update<4>)
KERNEL(state_update_single, 128, StepArguments, state_update<1>)

#define STATE_UPDATE(N, Lanes, Parts) \
    KERNEL_EARLY(state_update_rows_##N##_bfloat16, 128, StepArguments, state_update_rows<bfloat16, Lanes, Parts, STATE_ROWS>) \
    KERNEL_EARLY(state_update_rows_##N##_float32, 128, StepArguments, state_update_rows<float, Lanes, Parts, STATE_ROWS>)

STATE_UPDATE(32, 8, 1)
STATE_UPDATE(64, 16, 1)
STATE_UPDATE(128, 32, 1)
STATE_UPDATE(256, 32, 2)
