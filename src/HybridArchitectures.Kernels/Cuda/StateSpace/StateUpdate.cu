// A few tokens of either scan, one after another: state = exp(dt A) state + dt x B, output = (C.state + D x) silu(z). Decoding has one token, and a
// pass that verifies drafts has several.
//
// A row of the state has N numbers, which `lanes` neighbouring lanes share, V numbers each at a time. The selective scan has one row per channel and
// one A per number. The state-space dual has headSize rows per head and one A per head. If N is 32, 64, 128 or 256, lanes process Rows rows of a head
// together: their reads overlap, B, C and the decay are computed once for them, and their states are in registers from the first token to the last.
// The states can be in more slots than there are sequences. `slots` contains the slot of each sequence, or -1 for a padding row, whose output is 0
// and which has no state.
//
// A pass writes the states before its first token to `before`, if given. Afterwards, a launch with `counts` returns sequences to the middle of the
// pass: it applies the first counts[sequence] tokens, at least one, to `before`, writes the states, and computes no output. A sequence that keeps all
// tokens is left as it is. Every token takes the same operations, however many follow it, so the results are those of single steps. Fused operations
// are written out: the compiler may fuse either product of a sum of two, and selects differently in two kernels.
//
// Between two tokens, states are float32 or bfloat16 (STATE_BFLOAT16), to which they are then rounded after every token. All sums are float32.
//
// The state is read and written once, 8 bytes per number (4 in bfloat16), and all other data are small in comparison. There are about 5 operations
// per number. Limit on one H200 for 64 sequences x 64 heads x 64 x 128: 62 us (measured: 70 us), and half of it in
// bfloat16 (measured: 50 us with 4 rows together; with 8 not measured).
#include "common.cuh"

#ifndef STATE_BFLOAT16
#define STATE_BFLOAT16 0
#endif
#if STATE_BFLOAT16
using State = bfloat16;
#else
using State = float;
#endif

struct StepArguments {
    Typed x, dt, z, B, C;  // (batch, tokens, heads, headSize), (batch, tokens, heads), like x or null, (batch, tokens, groups, N) twice
    const float *A, *D, *dtBias;  // (heads, N) or (heads), (heads), (heads)
    const i64* slots;  // (batch), or null if sequence i has slot i
    State* state;                                    // (slots, heads, headSize, N), updated in place
    TypedOutput output;                              // (batch, tokens, heads, headSize)
    i64 rows, heads, headSize, groups, states, lanes, aPerState, softplus, slotCount, tokens;
    i64 xRow, dtRow, zRow, bRow, cRow;  // elements between sequences
    i64 xToken, dtToken, zToken, bToken, cToken;  // elements between tokens
    State* before;                                   // like state, or null
    const i64* counts;                               // (batch), or null for a pass
    float minDt, maxDt;
};

template <int V> __device__ __forceinline__ void load_typed(const Typed& from, i64 at, float (&values)[V]) {
    if constexpr (V == 1) values[0] = from[at];
    else if (from.bfloat16) load<bfloat16, V>(from.base, at, values);
    else load<float, V>(from.base, at, values);
}

__device__ __forceinline__ float time_step(const StepArguments& args, float dt, i64 head) {
    dt += args.dtBias ? args.dtBias[head] : 0.f;
    if (args.softplus) dt = softplus<float>(dt);
    return dt < args.minDt ? args.minDt : dt > args.maxDt ? args.maxDt : dt;
}

// Returns the number of tokens of a sequence that a launch applies; -1 if it leaves the sequence as it is.
__device__ __forceinline__ i64 applied_tokens(const StepArguments& args, i64 sequence) {
    if (!args.counts) return args.tokens;
    const i64 count = args.counts[sequence];
    return count < args.tokens ? count : -1;
}

template <int V> __device__ __forceinline__ void state_update(const StepArguments& args) {
    // The host ensures that rows and heads are below 2^31, where divisions are cheap. Offsets have 64 bits.
    using Index = unsigned;
    const Index lanes = static_cast<Index>(args.lanes), lane = threadIdx.x % lanes, headSize = static_cast<Index>(args.headSize),
        heads = static_cast<Index>(args.heads);
    const Index row = (blockIdx.x * (128 / lanes) + threadIdx.x / lanes), rowOfHeads = row / headSize, sequence = rowOfHeads / heads,
        head = rowOfHeads - sequence * heads, inSequence = row - sequence * heads * headSize;
    i64 slot = sequence, tokens = args.tokens;
    if (row >= args.rows) slot = -1;  // a lane without a row still takes part in the sums
    else if (args.slots) slot = args.slots[sequence] < args.slotCount ? args.slots[sequence] : -1;
    const i64 stateAt = ((slot * heads + head) * headSize + (row - rowOfHeads * headSize)) * args.states,
        group = static_cast<i64>(head / (heads / static_cast<Index>(args.groups))) * args.states;
    const State* from = args.state + stateAt;  // the state before a token
    State* before = args.before && !args.counts ? args.before + stateAt : nullptr;
    if (args.counts) {
        tokens = slot < 0 ? -1 : applied_tokens(args, sequence);
        from = args.before + stateAt;
    }
    for (i64 token = 0; token < tokens; token++) {
        float sum = 0, x = 0;
        if (slot >= 0) {
            State* state = args.state + stateAt;
            const i64 bAt = sequence * args.bRow + token * args.bToken + group, cAt = sequence * args.cRow + token * args.cToken + group;
            const float dt = time_step(args, args.dt[sequence * args.dtRow + token * args.dtToken + head], head);
            x = args.x[sequence * args.xRow + token * args.xToken + inSequence];
            const float added = dt * x, exponent = dt * log2_e;
            float decay = args.aPerState ? 0 : exp2_of<float>(exponent * args.A[head]);
            for (i64 n = lane * V; n < args.states; n += lanes * V) {
                float old[V], bs[V], cs[V];
                load<State, V>(from, n, old);
                load_typed<V>(args.B, bAt + n, bs);
                load_typed<V>(args.C, cAt + n, cs);
                if (before) store<State, V>(before, n, old);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    if (args.aPerState) decay = exp2_of<float>(exponent * args.A[head * args.states + n + i]);
                    old[i] = fused_multiply_add(decay, old[i], added * bs[i]);
                    sum = fused_multiply_add(old[i], cs[i], sum);
                }
                store<State, V>(state, n, old);
            }
            from = state;
            before = nullptr;
        }
        if (args.counts) continue;
        sum = lane_sum(sum, static_cast<int>(lanes));
        if (row >= args.rows || lane) continue;
        if (args.D) sum = fused_multiply_add(args.D[head], x, sum);
        if (args.z.base && slot >= 0) {
            float gate = args.z[sequence * args.zRow + token * args.zToken + inSequence];
            sum *= gate * sigmoid<float>(gate);
        }
        args.output.set((static_cast<i64>(sequence) * args.tokens + token) * heads * headSize + inSequence, slot >= 0 ? sum : 0);
    }
}

// What the rows of a block read of a token.
template <class E, int Lanes, int Parts, int Rows> struct TokenInputs {
    Raw<E, Rows> x;
    Raw<E, 4> B[Parts], C[Parts];
    float dt;

    __device__ __forceinline__ void load(const StepArguments& args, i64 sequence, i64 head, i64 inSequence, i64 group, i64 token) {
        x = load_raw<E, Rows>(args.x.base, sequence * args.xRow + token * args.xToken + inSequence);
#pragma unroll
        for (int part = 0; part < Parts; part++) {
            B[part] = load_raw<E, 4>(args.B.base, sequence * args.bRow + token * args.bToken + group + part * Lanes * 4);
            C[part] = load_raw<E, 4>(args.C.base, sequence * args.cRow + token * args.cToken + group + part * Lanes * 4);
        }
        dt = load_one<E>(args.dt.base, sequence * args.dtRow + token * args.dtToken + head);
    }
};

// Writes the outputs of a token from the sums of the lanes.
template <class E, int Lanes, int Rows> __device__ __forceinline__ void write_rows(
    const StepArguments& args, i64 sequence, i64 head, i64 inSequence, i64 token, bool exists, const Raw<E, Rows>& input, float (&sum)[Rows]) {
    const int lane = threadIdx.x % Lanes;
    reduce_scatter<Rows, Lanes / 2, 1>(sum, lane);
    const int stateValues = lane / (Lanes / Rows);  // the row whose sum this lane has
    if (lane % (Lanes / Rows)) return;
    float x = 0;
#pragma unroll
    for (int r = 0; r < Rows; r++) x = stateValues == r ? input[r] : x;
    float result = args.D ? fused_multiply_add(args.D[head], x, sum[0]) : sum[0];
    if (args.z.base) {
        const float gate = load_one<E>(args.z.base, sequence * args.zRow + token * args.zToken + inSequence + stateValues);
        result *= gate * sigmoid<float>(gate);
    }
    const i64 at = (sequence * args.tokens + token) * args.heads * args.headSize + inSequence + stateValues;
    store_one<E>(args.output.base, at, exists ? result : 0.f);
}

// The states of the dual with 32, 64, 128 or 256 numbers, for tensors of one type. blockIdx selects 4 x 32 / Lanes x Rows rows, the head and the
// sequence, so no division is needed before the first read. The numbers of a row are read at once, 4 per lane, `Parts` times. The inputs of the next
// token are loaded before a token is computed.
template <class E, int Lanes, int Parts, int Rows> __device__ __forceinline__ void state_update_rows(const StepArguments& args) {
    constexpr int N = Lanes * 4 * Parts;
    const int lane = threadIdx.x % Lanes;
    const i64 head = blockIdx.y, sequence = blockIdx.z,
        within = (static_cast<i64>(blockIdx.x) * (128 / Lanes) + threadIdx.x / Lanes) * Rows;
    i64 slot = sequence;
    if (args.slots) {
        wait_for_previous();
        slot = args.slots[sequence] < args.slotCount ? args.slots[sequence] : -1;
    }
    const i64 inSequence = head * args.headSize + within, stateAt = ((slot * args.heads + head) * args.headSize + within) * N + lane * 4;
    State* state = args.state + stateAt;
    const State* from = args.counts ? args.before + stateAt : state;
    Raw<State, 4> old[Parts][Rows];
    // the states are those of the token before: no kernel since then has written them
    if (slot >= 0)
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int r = 0; r < Rows; r++) old[part][r] = load_raw<State, 4>(from, r * N + part * Lanes * 4);
    wait_for_previous();
    const i64 tokens = applied_tokens(args, sequence);
    if (tokens < 0) return;
    if (args.before && !args.counts && slot >= 0)
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int r = 0; r < Rows; r++)
                *reinterpret_cast<Raw<State, 4>*>(args.before + stateAt + r * N + part * Lanes * 4) = old[part][r];
    const i64 group = head / (args.heads / args.groups) * N + lane * 4;
    TokenInputs<E, Lanes, Parts, Rows> next;
    next.load(args, sequence, head, inSequence, group, 0);
#pragma unroll 1
    for (i64 token = 0; token < tokens; token++) {
        const TokenInputs<E, Lanes, Parts, Rows> input = next;
        if (token + 1 < tokens) next.load(args, sequence, head, inSequence, group, token + 1);
        float sum[Rows];
#pragma unroll
        for (int r = 0; r < Rows; r++) sum[r] = 0;
        if (slot >= 0) {
            const float dt = time_step(args, input.dt, head), decay = exp2_of<float>(dt * log2_e * args.A[head]);
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int r = 0; r < Rows; r++) {
                    float values[4];
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        values[i] = fused_multiply_add(decay, old[part][r][i], dt * input.x[r] * input.B[part][i]);
                        sum[r] = fused_multiply_add(values[i], input.C[part][i], sum[r]);
                    }
                    old[part][r] = pack<State, 4>(values);
                    if (token + 1 == tokens) *reinterpret_cast<Raw<State, 4>*>(state + r * N + part * Lanes * 4) = old[part][r];
                }
        }
        if (!args.counts) write_rows<E, Lanes, Rows>(args, sequence, head, inSequence, token, slot >= 0, input.x, sum);
    }
}

KERNEL(state_update_vector, 128, StepArguments, state_update<4>)
KERNEL(state_update_single, 128, StepArguments, state_update<1>)

#define STATE_UPDATE(N, Lanes, Parts, Rows) \
    KERNEL_EARLY(state_update_rows_##N##_bfloat16, 128, StepArguments, state_update_rows<bfloat16, Lanes, Parts, Rows>) \
    KERNEL_EARLY(state_update_rows_##N##_float32, 128, StepArguments, state_update_rows<float, Lanes, Parts, Rows>)

// Twice as many rows in bfloat16, so that a thread waits for as many bytes as in float32. The host has the same numbers.
constexpr int state_rows = STATE_BFLOAT16 ? 8 : 4;
STATE_UPDATE(32, 8, 1, 4)
STATE_UPDATE(64, 16, 1, state_rows)
STATE_UPDATE(128, 32, 1, state_rows)
STATE_UPDATE(256, 32, 2, state_rows)
