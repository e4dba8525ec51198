// Sets the gradients of the weights of groups without rows to 0: what products of a mixture of experts leave uninitialized. Blocks of other groups
// leave at once, so that nothing else is read or written: 4 bytes per block, and 2 or 4 bytes per weight of a group without rows.
#include "common.cuh"

struct EmptyGroupsArguments {
    void* values;                                    // (groups, pieces) pieces of 16 bytes
    const int* ends;                                 // (groups)
    i64 pieces;
};

__device__ __forceinline__ void empty_groups_(const EmptyGroupsArguments& args) {
    const int group = static_cast<int>(blockIdx.y), begin = group > 0 ? args.ends[group - 1] : 0;
    if (args.ends[group] > begin) return;
    Word<16>* to = static_cast<Word<16>*>(args.values) + group * args.pieces;
    for (i64 at = static_cast<i64>(blockIdx.x) * 256 + threadIdx.x; at < args.pieces; at += static_cast<i64>(gridDim.x) * 256) to[at] = {};
}

KERNEL(empty_groups, 256, EmptyGroupsArguments, empty_groups_)
