// Rows of tokens that visit experts, and rows that come back, times the weights of the visits. A warp has a row.
//
// `spread_rows` writes the row of a token for each of its visits, times the weight of the visit. `combine_rows` adds up the rows of the visits of a
// token, each times its weight and rounded. The gradient of each is the other one, and that of a weight is a product of two rows, which
// `combine_rows` computes too. Every element is read once from memory and written once: 2 or 4 bytes each.
#include "common.cuh"

struct ExpertRowsArguments {
    const void *values, *weights, *other;            // rows; (tokens, choices); rows of tokens for the products, or null
    void *result, *products;                         // rows, null for the products alone; (tokens, choices), null if not needed
    const i64* places;                               // `spread_rows`: the visit at each place; `combine_rows`: the place of each visit
    i64 rows, choices, width;                        // rows: visits for `spread_rows`, tokens for `combine_rows`
};

// Calls use(k, at) for each of the Batch vectors of a row that a lane has in a step.
constexpr int Batch = 4;

template <int V, class Use> __device__ __forceinline__ void each_vector(i64 step, i64 width, Use use) {
#pragma unroll
    for (int k = 0; k < Batch; k++) {
        const i64 at = step + (k * 32 + threadIdx.x % 32) * V;
        if (at < width) use(k, at);
    }
}

template <class T, int V> __device__ __forceinline__ void spread_rows(const ExpertRowsArguments& args) {
    const i64 row = static_cast<i64>(blockIdx.x) * 8 + threadIdx.x / 32;
    if (row >= args.rows) return;
    const i64 visit = args.places[row], token = visit / args.choices;
    const float weight = load_one<T>(args.weights, visit);
    for (i64 step = 0; step < args.width; step += Batch * 32 * V) {
        Raw<T, V> raw[Batch];                        // all loads before the first use
        each_vector<V>(step, args.width, [&](int k, i64 at) { raw[k] = load_raw<T, V>(args.values, token * args.width + at); });
        each_vector<V>(step, args.width, [&](int k, i64 at) {
            float values[V];
#pragma unroll
            for (int i = 0; i < V; i++) values[i] = raw[k][i] * weight;
            store<T, V>(args.result, row * args.width + at, values);
        });
    }
}

// The product of the row of a visit and the row of its token.
template <class T, int V> __device__ __forceinline__ float row_product(const ExpertRowsArguments& args, i64 place, i64 token) {
    float product = 0;
    for (i64 step = 0; step < args.width; step += Batch * 32 * V) {
        Raw<T, V> left[Batch], right[Batch];
        each_vector<V>(step, args.width, [&](int k, i64 at) {
            left[k] = load_raw<T, V>(args.values, place * args.width + at);
            right[k] = load_raw<T, V>(args.other, token * args.width + at);
        });
        each_vector<V>(step, args.width, [&](int k, i64) {
#pragma unroll
            for (int i = 0; i < V; i++) product += left[k][i] * right[k][i];
        });
    }
    return lane_sum(product, 32);
}

template <class T, int V> __device__ __forceinline__ void combine_rows(const ExpertRowsArguments& args) {
    const i64 token = static_cast<i64>(blockIdx.x) * 8 + threadIdx.x / 32, first = token * args.choices, last = first + args.choices;
    if (token >= args.rows) return;
    if (args.result)
        for (i64 step = 0; step < args.width; step += Batch * 32 * V) {
            float sums[Batch][V] = {};
            for (i64 visit = first; visit < last; visit++) {
                const float weight = load_one<T>(args.weights, visit);
                const i64 from = args.places[visit] * args.width;
                Raw<T, V> raw[Batch];
                each_vector<V>(step, args.width, [&](int k, i64 at) { raw[k] = load_raw<T, V>(args.values, from + at); });
                each_vector<V>(step, args.width, [&](int k, i64) {
#pragma unroll
                    for (int i = 0; i < V; i++) sums[k][i] += to_float(from_float<T>(raw[k][i] * weight));
                });
            }
            each_vector<V>(step, args.width, [&](int k, i64 at) { store<T, V>(args.result, token * args.width + at, sums[k]); });
        }
    if (args.products)
        for (i64 visit = first; visit < last; visit++) {
            const float product = row_product<T, V>(args, args.places[visit], token);
            if (threadIdx.x % 32 == 0) store_one<T>(args.products, visit, product);
        }
}

KERNEL(spread_rows_float32, 256, ExpertRowsArguments, spread_rows<float, 4>)
KERNEL(spread_rows_bfloat16, 256, ExpertRowsArguments, spread_rows<bfloat16, 8>)
KERNEL(combine_rows_float32, 256, ExpertRowsArguments, combine_rows<float, 4>)
KERNEL(combine_rows_bfloat16, 256, ExpertRowsArguments, combine_rows<bfloat16, 8>)
