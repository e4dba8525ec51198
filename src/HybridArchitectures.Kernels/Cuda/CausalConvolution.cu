// The depthwise causal convolution along the sequence: forward, backward, the last inputs, and one step.
//
// In general, a thread processes V neighbouring channels (8 bytes, 16 for float32, or one) of one row, and a tile of tokens with the last Taps inputs
// in registers, so that an input is read once (and the Taps - 1 before a tile once more). Taps is 4 or 8; a shorter filter is padded with zeros on
// the side of the past. At the start of a document, the registers are set to zero. Backward repeats the loop over tokens and computes the sum under
// the SiLU again. The gradient of an input is complete Taps - 1 tokens later, so a tile continues that far into the next one. The sums of a tile for
// the filter are written once and added up over tiles in a fixed order (PartialSums.cu).
//
// Full rows with a filter of 4 taps have separate kernels with many short blocks: "plain" for rows of one document, "documents" for rows of several.
// The tokens that two tiles share are then read at about the same time, the second time from a cache, and no block remains alone at the end.
// Forward, a thread has 10 tokens, all loaded before the first is used. Backward, a block has 8 warps of 24 tokens each. Inputs and gradients are in
// a ring in shared memory with 4 stages of 4 tokens (16 KiB per stage, 76 KiB in total, two blocks per multiprocessor). Sums and the filter are in
// registers (at most 128), and the sums of the block for the filter are written as one. Where no document begins within a few tokens, rows of
// several documents take the same work as rows of one.
//
// Forward moves 2 elements per position, backward 3, and 20 bytes per channel for each 192 tokens; 2 Taps and 6 Taps operations. Limits on one H100
// for 8 x 8192 x 4096 in bfloat16, at the rate of a copy: 0.360 ms forward (measured: 0.359 ms), 0.540 ms backward (0.546 ms, and 0.007 ms for the
// sum). On one H200: 0.256 ms (0.270 ms) and 0.383 ms (0.445 ms).
// The tokens that the general forward kernel loads before it uses the first, if a row has one document.
#ifndef CONVOLUTION_AHEAD
#define CONVOLUTION_AHEAD 4
#endif
#ifndef CONVOLUTION_TOKENS  // per thread of the plain forward kernel; the host has the same number
#define CONVOLUTION_TOKENS 10
#endif
// The stages in shared memory of the plain backward kernel, at 8 bytes per thread; the host has the same number.
#ifndef CONVOLUTION_STAGES
#define CONVOLUTION_STAGES 4
#endif
#ifndef CONVOLUTION_VECTOR  // channels of a thread in bfloat16; the host has the same number
#define CONVOLUTION_VECTOR 4
#endif

#include "CausalConvolutionRows.cuh"
#include "CausalConvolutionPlain.cuh"

#define CONVOLUTION(type, T, V, size) \
    KERNEL(convolution_forward_4_##type##_##size, 128, ConvolutionArguments, convolution_forward<T, V, 4>) \
    KERNEL(convolution_forward_8_##type##_##size, 128, ConvolutionArguments, convolution_forward<T, V, 8>) \
    KERNEL_OF(convolution_forward_plain_##type##_##size, 128, sizeof(T) > 2 ? 5 : 6, ConvolutionArguments, convolution_forward_plain<T, V, false>) \
    KERNEL_OF(convolution_backward_plain_##type##_##size, 256, 2, ConvolutionArguments, convolution_backward_plain<T, V, false>) \
    KERNEL(convolution_backward_4_##type##_##size, 128, ConvolutionArguments, convolution_backward<T, V, 4>) \
    KERNEL(convolution_backward_8_##type##_##size, 128, ConvolutionArguments, convolution_backward<T, V, 8>) \
    KERNEL(convolution_step_4_##type##_##size, 128, ConvolutionArguments, convolution_step<T, V, 4>) \
    KERNEL(convolution_step_8_##type##_##size, 128, ConvolutionArguments, convolution_step<T, V, 8>) \
    KERNEL(convolution_final_##type##_##size, 128, ConvolutionArguments, convolution_final<T, V>)

// rows of several documents
#define CONVOLUTION_DOCUMENTS(type, T, V) \
    KERNEL_OF(convolution_forward_documents_##type##_vector, 128, sizeof(T) > 2 ? 5 : 6, ConvolutionArguments, \
        convolution_forward_plain<T, V, true>) \
    KERNEL_OF(convolution_backward_documents_##type##_vector, 256, 2, ConvolutionArguments, convolution_backward_plain<T, V, true>)

CONVOLUTION(float32, float, 4, vector)
CONVOLUTION(float32, float, 1, single)
CONVOLUTION(bfloat16, bfloat16, CONVOLUTION_VECTOR, vector)
CONVOLUTION(bfloat16, bfloat16, 1, single)
CONVOLUTION_DOCUMENTS(float32, float, 4)
CONVOLUTION_DOCUMENTS(bfloat16, bfloat16, CONVOLUTION_VECTOR)
