// One token of either scan: state = exp(delta a) state + delta x b, output = state c + skip x, and times silu(gate).
//
// A state row holds N numbers; `lanes` neighbouring lanes share one, V numbers each at a time. The selective scan has a row per channel and a rate per number,
// the state-space dual headSize rows per head and one rate. The state is read and written once, 8 bytes a number, beside which all else is small;
// about 5 operations a number.
#include "common.cuh"

struct StepArguments {
    Typed x, timeStep, gate, b, c;                   // (batch, heads, headSize), (batch, heads), like x or null, (batch, groups, N) twice
    const float *a, *skip, *bias;                    // (heads, N) or (heads), (heads), (heads)
    float* state;                                    // (batch, heads, headSize, N), updated in place
    TypedOutput output;
    i64 rows, heads, headSize, groups, states, lanes, ratePerState, softplus;
    float minimum, maximum;
};

template <int V> __device__ __forceinline__ void state_update(const StepArguments& a) {
    const int lanes = static_cast<int>(a.lanes), lane = threadIdx.x % lanes;
    const i64 row = (static_cast<i64>(blockIdx.x) * 128 + threadIdx.x) / lanes, place = row / a.headSize, head = place % a.heads;
    const bool inside = row < a.rows;                // a lane outside still takes part in the sum
    float sum = 0, x = 0;
    if (inside) {
        float delta = a.timeStep[place] + (a.bias ? a.bias[head] : 0.f);
        if (a.softplus) delta = softplus(delta);
        delta = delta < a.minimum ? a.minimum : delta > a.maximum ? a.maximum : delta;
        x = a.x[row];
        const float added = delta * x, exponent = delta * log2_e;
        const i64 group = (place / a.heads * a.groups + head / (a.heads / a.groups)) * a.states;
        float decay = a.ratePerState ? 0 : exp2_approximate(exponent * a.a[head]);
        for (i64 n = static_cast<i64>(lane) * V; n < a.states; n += lanes * V) {
            float state[V];
            load<float, V>(a.state, row * a.states + n, state);
#pragma unroll
            for (int i = 0; i < V; i++) {
                if (a.ratePerState) decay = exp2_approximate(exponent * a.a[head * a.states + n + i]);
                state[i] = decay * state[i] + added * a.b[group + n + i];
                sum += state[i] * a.c[group + n + i];
            }
            store<float, V>(a.state, row * a.states + n, state);
        }
    }
    sum = lane_sum(sum, lanes);
    if (!inside || lane) return;
    if (a.skip) sum += a.skip[head] * x;
    if (a.gate.base) {
        float gate = a.gate[row];
        sum *= gate * sigmoid(gate);
    }
    a.output.set(row, sum);
}

KERNEL(state_update_vector, 128, StepArguments, state_update<4>)
KERNEL(state_update_single, 128, StepArguments, state_update<1>)
