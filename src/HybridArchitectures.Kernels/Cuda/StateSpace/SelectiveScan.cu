// The selective scan: h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] x[t], y[t] = (C[t].h[t] + D x[t]) silu(z[t]), and its gradients.
//
// Tiles. A warp owns `Channels` neighbouring channels of one row and processes its tokens in order, in groups of four. A tile is the `Tile` tokens
// that are copied at once. A thread keeps the states of K channels times J states in registers. S neighbouring lanes share the S * J states of a
// channel, and the 32 / S groups of such lanes own different channels. B and C are therefore read once for K channels, and dt and dt x once for J
// states. Sums over states go over S lanes, and sums over channels over 32 / S lanes. Both use exchanges that halve the number of values, about one
// shuffle for K * J products. A block is 4 warps that share B and C.
//
// Memory. Raw inputs arrive by asynchronous copies, of 16 bytes if their alignment permits it. B and C of a tile, dt and dt x are stored in shared
// memory as float32, converted once. At the start of a document, -1e30 is added to the exponent, so that the decay is 0 without a branch. After the
// end of a row, dt is 0.
//
// Scheduling. A multiprocessor holds only 8 of these warps, two for each scheduler. They hide each other's latencies only if each has enough
// independent work. The forward scan therefore processes a tile without a branch (SelectiveScanForward.cuh), and gate, softplus and documents are
// compile-time options.
//
// Chunks. If there are too few channels for the GPU, rows are divided into chunks that are processed in parallel, in two launches of equal load. The
// first launch scans the first chunk, and computes what each other chunk but the last adds to a state of zeros. scan_join then combines these states:
// the decay over a chunk is one exponential of A times the sum of its steps. The second launch scans all chunks but the first. Backward does the same
// from the other end. For up to 16 states and enough channels, the forward pass uses SelectiveScanFewChannels.cu instead, which saves the same
// states.
//
// Gradients. The forward pass saves the state at the start of each tile. The backward pass processes the tiles from the last. It computes the states
// at every PartTokens tokens again (in shared memory), then the states and decays of PartTokens tokens in registers, and then the gradients in
// reverse order (SelectiveScanBackward.cuh). Gradients of B and C are summed over the channels of a block in a fixed order, written once per block,
// and added up over blocks by another kernel.
//
// Limits on one H100 for 8 x 8192 tokens x 4096 channels x 16 states in bfloat16. Bytes: 0.64 ms forward (x, dt, z and y), 1.1 ms backward. Special
// functions: 1.26 ms forward (an exponential per state and 3 per channel), 2.3 ms backward. Instructions: 1.1 ms forward (8.2 per state), 3.6 ms
// backward (27). Registers come from two banks with one operand per cycle each, so a multiply-add of three different registers takes 1.5 cycles: 1.0
// to 1.4 ms forward, 2.7 to 3.9 ms in the scans of backward. Measured: 1.58 ms forward and 5.3 ms backward. Backward uses all 255 registers, so
// values that can be recomputed are not stored. lab/kernels-log.md lists the attempts.
#include "SelectiveScanBackward.cuh"
#include "SelectiveScanForward.cuh"

// Joins the chunks in the order of the scan: the state that each chunk adds becomes the state with which it begins (Reverse: the gradient of the
// state at its end). The first chunk has stored its last state.
template <bool Reverse> __device__ __forceinline__ void scan_join(const ScanArguments& args) {
    const i64 all = args.channels * args.states, at = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x, row = blockIdx.y;
    if (at >= all) return;
    const float rate = args.A[at] * log2_e;
    const auto part = [&](i64 n) { return row * args.chunks + (Reverse ? args.chunks - 1 - n : n); };
    float value = args.chunkStates[part(0) * all + at];
    constexpr int Ahead = 8;
    for (i64 begin = 1; begin < args.chunks - 1; begin += Ahead) {
        float chunkStates[Ahead], steps[Ahead];  // read at once
#pragma unroll
        for (int i = 0; i < Ahead; i++) {
            const bool there = begin + i < args.chunks - 1;
            chunkStates[i] = there ? args.chunkStates[part(begin + i) * all + at] : 0.f;
            steps[i] = there ? args.chunkSteps[part(begin + i) * args.channels + at / args.states] : 0.f;
        }
#pragma unroll
        for (int i = 0; i < Ahead; i++)
            if (begin + i < args.chunks - 1) {
                args.chunkStates[part(begin + i) * all + at] = value;
                value = (steps[i] >= 1e30f ? 0.f : exp2_polynomial(rate * steps[i]) * value) + chunkStates[i];
            }
    }
    args.chunkStates[part(args.chunks - 1) * all + at] = value;
}

KERNEL(scan_join_forward, 128, ScanArguments, scan_join<false>)
KERNEL(scan_join_backward, 128, ScanArguments, scan_join<true>)

template <class E, int K, int J, int S, int Tile, int PartTokens> __device__ __forceinline__ void scan_forward(const ScanArguments& args) {
    Scan<E, K, J, S, Tile, PartTokens>(args, false).template forward<false, false>();
}
template <class E, int K, int J, int S, int Tile,
    int PartTokens> __device__ __forceinline__ void scan_backward(const ScanArguments& args) { Scan<E, K, J, S, Tile,
        PartTokens>(args, true).backward(); }
template <class E, int K, int J, int S, int Tile, int PartTokens> __device__ __forceinline__ void scan_first_forward(const ScanArguments& args) {
    const Scan<E, K, J, S, Tile, PartTokens> scan(args, false);
    if (scan.scanOrder > 0) scan.template forward<true, false>(); else scan.template forward<false, false>();
}
template <class E, int K, int J, int S, int Tile, int PartTokens> __device__ __forceinline__ void scan_first_backward(const ScanArguments& args) {
    const Scan<E, K, J, S, Tile, PartTokens> scan(args, true);
    if (scan.scanOrder > 0) scan.template forward<true, true>(); else scan.backward();
}

// `Blocks` is the number of blocks per multiprocessor, which limits the registers.
#define SCAN_OF(shape, type, E, K, J, S, Tile, PartTokens, Blocks) \
    KERNEL_OF(scan_forward_##shape##_##type, 128, Blocks, ScanArguments, scan_forward<E, K, J, S, Tile, PartTokens>) \
    KERNEL_OF(scan_backward_##shape##_##type, 128, Blocks, ScanArguments, scan_backward<E, K, J, S, Tile, PartTokens>)
// The launch before these, if rows are divided into chunks.
#define SCAN_FIRST_OF(shape, type, E, K, J, S, Tile, PartTokens, Blocks) \
    KERNEL_OF(scan_first_forward_##shape##_##type, 128, Blocks, ScanArguments, scan_first_forward<E, K, J, S, Tile, PartTokens>) \
    KERNEL_OF(scan_first_backward_##shape##_##type, 128, Blocks, ScanArguments, scan_first_backward<E, K, J, S, Tile, PartTokens>)

// Shape: channels and states of a thread, lanes of a channel, tile, tokens of a part, blocks per multiprocessor. The host has the same numbers.
#define SCAN_SHAPE_4 1, 4, 1, 16, 4, 2
#define SCAN_SHAPE_16 2, 8, 2, 16, 4, 2
#define SCAN_SHAPE_32 2, 8, 4, 16, 4, 2
#define SCAN_SHAPE_64 2, 8, 8, 16, 4, 2
#define SCAN_SHAPE_128 2, 8, 16, 16, 4, 2
#define SCAN_SHAPE_256 2, 8, 32, 16, 4, 2
#define SCAN_WITH(kernels, ...) kernels(__VA_ARGS__)  // expands the arguments first
#define SCAN_JOINED(left, right) left##right
#define SCAN_SHAPE_OF(shape) SCAN_JOINED(SCAN_SHAPE_, shape)

#ifdef SCAN_SHAPE  // The host requests one shape, type and launch, because the user waits for the compiler.
SCAN_WITH(SCAN_KERNELS, SCAN_SHAPE, SCAN_TYPE, SCAN_ELEMENT, SCAN_SHAPE_OF(SCAN_SHAPE))
#else
#define SCAN(shape) \
    SCAN_WITH(SCAN_OF, shape, bfloat16, bfloat16, SCAN_SHAPE_OF(shape)) \
    SCAN_WITH(SCAN_OF, shape, float32, float, SCAN_SHAPE_OF(shape)) \
    SCAN_WITH(SCAN_FIRST_OF, shape, bfloat16, bfloat16, SCAN_SHAPE_OF(shape)) \
    SCAN_WITH(SCAN_FIRST_OF, shape, float32, float, SCAN_SHAPE_OF(shape))
SCAN(4)
SCAN(16)
SCAN(32)
SCAN(64)
SCAN(128)
SCAN(256)
#endif
