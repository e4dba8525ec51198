// A step of AdamW for many parameters in one launch, with a copy of the new weights in bfloat16 for the products of the next step.
//
// A block processes 4,096 elements of one parameter: 4 vectors of 4 elements per thread, 2 of them loaded before the first is used. The table of the
// parameters is in the arguments of the kernel. The constants of the step (learning rate over bias correction, and so on) are computed once per block
// in double precision. If `failed` is not 0, nothing is written.
//
// Moves 28 bytes per element (value, gradient and two moments are read; value and moments are written), 2 less for a bfloat16 gradient, and 2 bytes
// for the copy. Limit for 1.236e9 elements on one H200: 8.2 ms, and 8.7 ms with copies.
#include "many_tensors.cuh"

#define ADAMW_TENSORS 64                               // the host has the same numbers
#define ADAMW_PER_BLOCK 4096

struct AdamWTensor {
    float* value;
    const void* gradient;                              // float32 or bfloat16
    float *first, *second;                             // the means of the gradient and of its square
    void* copy;                                        // bfloat16, or null
    i64 count;                                         // elements
    int endBlock, isBFloat16;                          // the number of blocks of this and all parameters before it; the type of the gradient
};

struct AdamWArguments {
    AdamWTensor tensors[ADAMW_TENSORS];
    const float *rate, *steps, *failed, *divisor;      // one number each; divisor of the gradients, or null
    i64 tensorCount;
    double beta1, beta2, epsilon, decay;
};

__device__ __forceinline__ double whole_power(double x, i64 exponent) {
    double result = 1;
    for (; exponent > 0; exponent /= 2, x *= x)
        if (exponent % 2) result *= x;
    return result;
}

// The constants of a step, in shared memory.
struct AdamWConstants { float stepSize, rootScale, gradientScale, decay, beta1, beta2, rest1, rest2, epsilon; };

template <class T, int V> __device__ __forceinline__ void adamw_vector(
    const AdamWConstants& constants, const AdamWTensor& tensor, i64 at, const Raw<float, V>& value, const Raw<T, V>& gradient,
    const Raw<float, V>& first, const Raw<float, V>& second) {
    float values[V], firsts[V], seconds[V];
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float g = gradient[i] * constants.gradientScale;
        firsts[i] = constants.beta1 * first[i] + constants.rest1 * g;
        seconds[i] = constants.beta2 * second[i] + constants.rest2 * (g * g);
        const float decayed = fused_multiply_add(-constants.decay, value[i], value[i]);
        values[i] = decayed - constants.stepSize * firsts[i] / (square_root(seconds[i]) * constants.rootScale + constants.epsilon);
    }
    store<float, V>(tensor.value, at, values);
    store<float, V>(tensor.first, at, firsts);
    store<float, V>(tensor.second, at, seconds);
    if (tensor.copy) store<bfloat16, V>(tensor.copy, at, values);
}

// Updates the elements of a block from `begin`, with a gradient of type T.
template <class T> __device__ __forceinline__ void adamw_block(const AdamWConstants& constants, const AdamWTensor& tensor, i64 begin) {
    const i64 whole = tensor.count / 4 * 4, end = begin + ADAMW_PER_BLOCK;
    for (i64 pass = begin + 4 * threadIdx.x; pass < (end < whole ? end : whole); pass += 2 * 4 * 256) {
        Raw<float, 4> value[2], first[2], second[2];
        Raw<T, 4> gradient[2];
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const i64 at = pass + k * 4 * 256;
            if (at >= whole) continue;
            value[k] = load_raw<float, 4>(tensor.value, at);
            gradient[k] = load_raw<T, 4>(tensor.gradient, at);
            first[k] = load_raw<float, 4>(tensor.first, at);
            second[k] = load_raw<float, 4>(tensor.second, at);
        }
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const i64 at = pass + k * 4 * 256;
            if (at < whole) adamw_vector<T, 4>(constants, tensor, at, value[k], gradient[k], first[k], second[k]);
        }
    }
    const i64 rest = whole + threadIdx.x;
    if (rest < tensor.count && rest >= begin && rest < end)
        adamw_vector<T, 1>(constants, tensor, rest, load_raw<float, 1>(tensor.value, rest), load_raw<T, 1>(tensor.gradient, rest),
            load_raw<float, 1>(tensor.first, rest), load_raw<float, 1>(tensor.second, rest));
}

__device__ __forceinline__ void adamw_step(const AdamWArguments& args) {
    DYNAMIC_SHARED(AdamWConstants, constants);
    if (*args.failed != 0.f) return;                   // the whole grid
    if (threadIdx.x == 0) {
        const double rate = *args.rate;
        const i64 steps = static_cast<i64>(*args.steps);
        *constants = {static_cast<float>(rate / (1 - whole_power(args.beta1, steps))),
            1 / square_root(static_cast<float>(1 - whole_power(args.beta2, steps))), args.divisor ? 1 / *args.divisor : 1.f,
            static_cast<float>(rate * args.decay), static_cast<float>(args.beta1), static_cast<float>(args.beta2),
            static_cast<float>(1 - args.beta1), static_cast<float>(1 - args.beta2), static_cast<float>(args.epsilon)};
    }
    __syncthreads();
    i64 begin;
    const AdamWTensor& tensor = tensor_of_block<ADAMW_PER_BLOCK>(args.tensors, args.tensorCount, begin);
    if (tensor.isBFloat16) adamw_block<bfloat16>(*constants, tensor, begin);
    else adamw_block<float>(*constants, tensor, begin);
}

KERNEL_OF(adamw_step_many, 256, 4, AdamWArguments, adamw_step)
