// One branch, or two branches over the same channels: normalized over equal parts of the width, scaled per channel, and added, subtracted or mixed by
// a gate per channel; and the gradients. (Concatenated branches are processed one after the other.) One kernel is compiled for a type, a form and a
// direction (BranchFusionLaunchConfiguration has the configurations):
//
// - Heads: a part is within the lanes of a warp. A thread has one vector of 16 bytes of each branch, parts are summed by exchanges, and nothing waits
//   for a whole row. Without weights and gate, a block processes one row, or 256 vectors of it. Otherwise it processes the same columns of several
//   rows, with their scales in registers, and backward loads the next row ahead.
// - Rows: a part is a row of up to 1024 vectors. A block processes a row, and a thread two vectors of each branch. Backward processes the same
//   columns of many rows, and copies the next row to shared memory at the same time.
// - Parts: the same for other parts, whose vectors store their sums in shared memory.
// - Rest: the same for any width, and for elements that do not fit in vectors. Elements beyond the width of a block are read again, and
//   their gradients are accumulated in memory.
//
// The gradients of weights and gate all follow from one sum over rows per branch and channel, of dy x / rms. It is accumulated in registers and
// written once per block, and added up over blocks in a fixed order. Forward moves 3 widths per row, backward 5. About 8 and 20 operations per
// element. Measured on one H100 (3.0 TB/s) for 65536 x 4096 with 64 heads: bfloat16 0.555 and 0.917 ms (limits 0.542 and 0.904 ms), float32 1.12 and
// 1.85 ms (1.08 and 1.81 ms). With weights and a gate: 0.57 and 0.97 ms, 1.13 and 1.89 ms. Over whole rows: 0.54 and 1.00 ms, 1.05 and 1.87 ms.
enum Form { Heads, Rows, Parts, Rest };

#ifndef FUSION_TYPE  // an arbitrary configuration, if none is given
#define FUSION_TYPE bfloat16
#define FUSION_VECTOR 8
#define FUSION_FORM Rest
#define FUSION_PLAIN false
#define FUSION_BACKWARD 1
#endif

#include "BranchFusionHeads.cuh"
#include "BranchFusionRows.cuh"

#if FUSION_BACKWARD
template <class T, int V, Form F, bool Plain> __device__ __forceinline__ void fusion(const FusionArguments& args) {
    if constexpr (F == Heads) heads_backward<T, V, Plain>(args);
    else rows_backward<T, V, 2, F != Rows, F == Rest, F == Rest ? 0 : 2>(args);
}
KERNEL_OF(fuse, FUSION_FORM == Heads ? 256 : 512, FUSION_FORM == Heads ? 3 : 1, FusionArguments,
    fusion<FUSION_TYPE, FUSION_VECTOR, FUSION_FORM, FUSION_PLAIN>)
#else
template <class T, int V, Form F, bool Plain> __device__ __forceinline__ void fusion(const FusionArguments& args) {
    if constexpr (F == Heads) heads_forward<T, V, Plain>(args);
    else rows_forward<T, V, 2, F != Rows, F == Rest>(args);
}
KERNEL_OF(fuse, FUSION_FORM == Heads ? 256 : 512, FUSION_FORM == Heads ? 5 : 2, FusionArguments,
    fusion<FUSION_TYPE, FUSION_VECTOR, FUSION_FORM, FUSION_PLAIN>)
#endif
