// The gated delta rule from chunk to chunk, forward and backward (gated_delta.cuh has the formulas and the reason for the layout).
//
// A block has Slices groups of four warps. Each group owns 64 columns of V of one head and goes through the chunks in turn; what the chunks need
// (keys, queries, T, P, values or gradients) arrives one chunk ahead in the other of two stages. On compute capability 9.0, four more warps do all
// copies: the others leave states and output in shared memory, from where they go to global memory during the next chunk.
// Registers: the transposed state 64 x K in float32 (K / 2 a thread), the same as left operands in bfloat16 (K / 4), one or two 64 x 64 sums.
// Shared memory: two stages of 2 K / 64 + 2 tiles (3 K / 64 + 2 with a decay per key channel, 2 K / 64 + 1 without corrections) and one tile for each
// slice, with gamma and r; twice K / 64 + 1 tiles a slice on their way out.
// What it must do forward, 1 x 8192 tokens, 16 key heads and 32 value heads of 128: 34 GFLOP, 0.043 ms at 790 TFLOP/s, if there were enough columns
// for all multiprocessors; 64 groups process 128 chunks, each of which is a chain of three products.
#include "gated_delta.cuh"

// With products of four warps, four more warps copy to and from shared memory.
constexpr bool HasCopyWarps = DELTA_GROUPED;
constexpr int SharedTiles = (Channels && Corrects ? 3 : 2) * KeyTiles + (Corrects ? 2 : 1);
constexpr int StageSize = (SharedTiles + Slices) * Tile, OutputTiles = KeyTiles + 1;
constexpr int Workers = 128 * Slices, Threads = Workers + (HasCopyWarps ? 128 : 0), Loaders = HasCopyWarps ? 128 : Threads;

struct Stage {
    // with a decay per key channel, `keys` and `queries` read the state before the chunk, and `writing_keys` write that after it
    Place keys, queries, writing_keys, solved, scores, slice_tile;
    const float *gamma, *r;                          // with a decay per key channel, `gamma` has what remains of the rows of the state

    __device__ __forceinline__ Stage(u16* tiles, int number, int slice) {
        const Place start = place_of(tiles + number * StageSize);
        keys = start;
        queries = keys + (Corrects ? KeyTiles * Tile : 0);
        writing_keys = Channels ? queries + KeyTiles * Tile : keys;
        solved = queries + (Channels ? 2 : 1) * KeyTiles * Tile;
        scores = solved + (Corrects ? Tile : 0);
        slice_tile = scores + Tile + slice * Tile;
        gamma = reinterpret_cast<const float*>(tiles + 2 * StageSize + (HasCopyWarps ? 2 * Slices * OutputTiles * Tile : 0)) + number * 2 * Chunk;
        r = gamma + Chunk;
    }
};

struct ChunkScan {
    const DeltaArguments& args;
    u16* tiles;
    i64 row, head, group, end;
    int thread, warp, slice, first, columns;         // of this group: first column of V, how many there are from it on

    __device__ __forceinline__ explicit ChunkScan(const DeltaArguments& arguments) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        tiles = first_tile(shared);
        row = blockIdx.z;
        head = blockIdx.y;
        group = head / (args.heads / args.groups);
        end = row_length(args, row);
        thread = threadIdx.x % 128;
        warp = thread / 32;
        slice = uniform(threadIdx.x / 128);
        first = first_column(slice);
        columns = ValueSize - first < 64 ? ValueSize - first : 64;
    }

    __device__ __forceinline__ bool copies() const { return HasCopyWarps && slice == Slices; }

    __device__ __forceinline__ int first_column(int slice_number) const { return (blockIdx.x * Slices + slice_number) * 64; }

    // the results of a slice for a chunk: the transposed state, K / 64 tiles, then 64 tokens of its columns
    __device__ __forceinline__ u16* output_tile(int number, int slice_number) const {
        return tiles + 2 * StageSize + (number * Slices + slice_number) * OutputTiles * Tile;
    }

    __device__ __forceinline__ i64 place(i64 chunk) const { return (row * args.heads + head) * args.chunks + chunk; }

    // the number of the warp's 16 columns that exist, or less than 0
    __device__ __forceinline__ int warp_columns() const { return columns - 16 * warp; }

    template <bool Queries> __device__ __forceinline__ void load_keys(const Stage& stage, i64 chunk, int loader) const {
        const i64 begin = chunk * Chunk, valid = end - begin;
        for (int kt = 0; kt < KeyTiles; kt++) {
            const int width = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64;
            if constexpr (Channels) {
                const i64 at = place(chunk) * Chunk * KeySize + 64 * kt;
                if constexpr (Corrects) load_tile<Loaders>(stage.keys + kt * Tile, args.readingKeys + at, KeySize, Chunk, width, loader);
                load_tile<Loaders>(stage.writing_keys + kt * Tile, args.writingKeys + at, KeySize, Chunk, width, loader);
                if constexpr (Queries) load_tile<Loaders>(stage.queries + kt * Tile, args.readingQueries + at, KeySize, Chunk, width, loader);
            } else {
                load_tile<Loaders>(stage.keys + kt * Tile, args.key.at(row, begin, group) + 64 * kt, args.key.tokenStride, valid, width, loader);
                if constexpr (Queries)
                    load_tile<Loaders>(
                        stage.queries + kt * Tile, args.query.at(row, begin, group) + 64 * kt, args.query.tokenStride, valid, width, loader);
            }
        }
    }

    // loads everything that a chunk needs; `slice_rows` are values or gradients of the output
    template <bool Queries> __device__ __forceinline__ void load_chunk(i64 chunk, int number, const HeadRows& slice_rows) const {
        const int loader = HasCopyWarps ? thread : threadIdx.x;
        const Stage stage(tiles, number, 0);
        const i64 begin = chunk * Chunk, valid = end - begin;
        load_keys<Queries>(stage, chunk, loader);
        if constexpr (Corrects) load_tile<Loaders>(stage.solved, args.solved + place(chunk) * Chunk * Chunk, Chunk, Chunk, Chunk, loader);
        if constexpr (Queries) load_tile<Loaders>(stage.scores, args.scores + place(chunk) * Chunk * Chunk, Chunk, Chunk, Chunk, loader);
        for (int slice_number = 0; slice_number < Slices; slice_number++) {
            const int start = first_column(slice_number), width = ValueSize - start;
            load_tile<Loaders>(stage.slice_tile + slice_number * Tile, slice_rows.at(row, begin, head) + (width > 0 ? start : 0),
                slice_rows.tokenStride, valid, width, loader);
        }
        if constexpr (Channels) {
            if (loader < KeyTiles * Chunk / 4)
                copy_async<16>(
                    const_cast<float*>(stage.gamma) + 4 * loader, args.remains + place(chunk) * KeySize + 4 * loader, 4 * loader < KeySize);
        } else if (loader < 2 * Chunk / 4)
            copy_async<16>(const_cast<float*>(stage.gamma) + 4 * loader, args.numbers + place(chunk) * ChunkNumbers::Size + 2 * Chunk + 4 * loader,
                true);
        copy_commit();
    }

    // waits until the chunk has been loaded and all threads have left the other stage
    __device__ __forceinline__ void wait_for_chunk() const {
        if constexpr (HasCopyWarps) meet(1, Threads);
        else {
            copy_wait<0>();
            publish();
            __syncthreads();
        }
    }

    // copies the results of the slices for a chunk to global memory: states with States, tokens of their columns with Rows
    template <bool States, bool Rows> __device__ __forceinline__ void copy_output(i64 chunk, int number, const HeadRows& out, u16* states) const {
        const i64 begin = chunk * Chunk, tokens = args.length - begin;
        const int piece = 8 * (thread % 8);
        for (int slice_number = 0; slice_number < Slices; slice_number++) {
            const int start = first_column(slice_number);
            const u16* from = output_tile(number, slice_number);
            for (int token = thread / 8; token < Chunk; token += 16) {
                if constexpr (States)
#pragma unroll
                    for (int kt = 0; kt < KeyTiles; kt++)
                        if (start + token < ValueSize && 64 * kt + piece < KeySize)
                            copy_piece(states + (place(chunk) * ValueSize + start + token) * KeySize + 64 * kt + piece,
                                from + kt * Tile + swizzled(token, piece));
                if (Rows && token < tokens && start + piece < ValueSize)
                    copy_piece(out.at(row, begin + token, head) + start + piece, from + KeyTiles * Tile + swizzled(token, piece));
            }
        }
    }

    static __device__ __forceinline__ void copy_piece(u16* to, const u16* from) {
        *reinterpret_cast<Raw<bfloat16, 8>*>(to) = *reinterpret_cast<const Raw<bfloat16, 8>*>(from);
    }

    // The work of the four warps that copy: the next chunk in and the last one out, while the others compute. With FromEnd, chunks go from the last
    // to the first.
    template <bool Queries, bool States, bool Rows, bool FromEnd>
    __device__ __forceinline__ void copy_chunks(const HeadRows& slice_rows, const HeadRows& out, u16* states) const {
        for (i64 step = 0; step <= args.chunks; step++) {
            if (step < args.chunks) load_chunk<Queries>(FromEnd ? args.chunks - 1 - step : step, step % 2, slice_rows);
            if (step > 1) copy_output<States, Rows>(FromEnd ? args.chunks + 1 - step : step - 2, step % 2, out, states);
            copy_wait<0>();
            publish();
            sync_warp();
            meet(1, Threads);
        }
        copy_output<States, Rows>(FromEnd ? 0 : args.chunks - 1, (args.chunks - 1) % 2, out, states);
    }

    // reads this thread's part of a K x V state, transposed; zeros without a state
    __device__ __forceinline__ void read_state(float (&state)[KeyTiles][32], const float* from) const {
        const int quad = thread % 32 / 4, quad_lane = thread % 4;
        const float* head_state = from + (row * args.heads + head) * KeySize * ValueSize;
#pragma unroll
        for (int kt = 0; kt < KeyTiles; kt++)
#pragma unroll
            for (int i = 0; i < 32; i++) {
                const int k = 64 * kt + i / 4 * 8 + 2 * quad_lane + i % 2, v = first + 16 * warp + quad + i % 4 / 2 * 8;
                state[kt][i] = from && k < KeySize && v < ValueSize ? head_state[k * ValueSize + v] : 0.f;
            }
    }

    __device__ __forceinline__ void write_state(float* to, const float (&state)[KeyTiles][32]) const {
        if (!to) return;
        const int quad = thread % 32 / 4, quad_lane = thread % 4;
        float* head_state = to + (row * args.heads + head) * KeySize * ValueSize;
#pragma unroll
        for (int kt = 0; kt < KeyTiles; kt++)
#pragma unroll
            for (int i = 0; i < 32; i++) {
                const int k = 64 * kt + i / 4 * 8 + 2 * quad_lane + i % 2, v = first + 16 * warp + quad + i % 4 / 2 * 8;
                if (k < KeySize && v < ValueSize) head_state[k * ValueSize + v] = state[kt][i];
            }
    }

    // writes 64 tokens of the warp's columns, which left operands hold transposed, up to the length of the tensor
    __device__ __forceinline__ void store_rows(const HeadRows& to, i64 begin, int number, const unsigned (&operands)[4][4]) const {
        if constexpr (HasCopyWarps) {
            const int lane = thread % 32;
            const Place tile = place_of(output_tile(number, slice) + KeyTiles * Tile);
#pragma unroll
            for (int k = 0; k < 4; k++)
                store_blocks<true>(tile + swizzled(16 * k + lane % 8 + lane / 16 * 8, 16 * warp + lane / 8 % 2 * 8), operands[k]);
        } else {
            const int valid = warp_columns();
            store_transposed(to.at(row, begin, head) + (valid > 0 ? first + 16 * warp : 0), to.tokenStride, args.length - begin, valid, operands);
        }
    }

    // loads the warp's 16 columns of values or gradients, transposed
    __device__ __forceinline__ void load_slice(unsigned (&operands)[4][4], const Stage& stage) const {
#pragma unroll
        for (int k = 0; k < 4; k++) load_left_transposed(operands[k], stage.slice_tile, 16 * warp, 16 * k);
    }

    // stores the transposed state in bfloat16, which the kernel of the pairs reads
    __device__ __forceinline__ void store_state(u16* states, i64 chunk, int number, const unsigned (&operands)[4 * KeyTiles][4]) const {
        if constexpr (HasCopyWarps) {
            const int lane = thread % 32;
            const Place tile = place_of(output_tile(number, slice));
#pragma unroll
            for (int k = 0; k < 4 * KeyTiles; k++)
                store_blocks<false>(tile + k / 4 * Tile + swizzled(16 * warp + lane % 8 + lane / 8 % 2 * 8, k % 4 * 16 + lane / 16 * 8), operands[k]);
        } else {
            const int quad = thread % 32 / 4, quad_lane = thread % 4, v = first + 16 * warp + quad;
            u16* to = states + (place(chunk) * ValueSize + v) * KeySize;
#pragma unroll
            for (int k = 0; k < 4 * KeyTiles; k++) {
                const bool exists = 16 * k + (quad_lane & 1 ? 8 : 0) < KeySize;
                store_row(to + 16 * k, operands[k][0], operands[k][2], exists && v < ValueSize);
                store_row(to + 8 * KeySize + 16 * k, operands[k][1], operands[k][3], exists && v + 8 < ValueSize);
            }
        }
    }
};

__device__ __forceinline__ void state_operands(unsigned (&operands)[4 * KeyTiles][4], const float (&state)[KeyTiles][32]) {
#pragma unroll
    for (int kt = 0; kt < KeyTiles; kt++)
#pragma unroll
        for (int i = 0; i < 16; i++) operands[4 * kt + i / 4][i % 4] = round_to_bfloat16_pair(state[kt][2 * i], state[kt][2 * i + 1]);
}

__device__ __forceinline__ void decay_state(float (&state)[KeyTiles][32], const float* gamma) {
    const float decay = gamma[Chunk - 1];
#pragma unroll
    for (int kt = 0; kt < KeyTiles; kt++)
        if constexpr (Channels) scale_columns(state[kt], gamma + 64 * kt);
        else
#pragma unroll
            for (int i = 0; i < 32; i++) state[kt][i] *= decay;
}

__device__ __forceinline__ void copy_operands(unsigned (&to)[4][4], const unsigned (&from)[4][4]) {
#pragma unroll
    for (int i = 0; i < 16; i++) to[i / 4][i % 4] = from[i / 4][i % 4];
}

// sums = V^T - gamma sums, without gamma if keys are decayed; V the warp's 16 columns of the tile
__device__ __forceinline__ void subtract_from_values(float (&sums)[32], Place values, const float* gamma, int warp) {
    const int lane = threadIdx.x % 32, quad_lane = lane % 4;
#pragma unroll
    for (int pair = 0; pair < 4; pair++) {
        // blocks: 8 tokens by 8 columns, then columns + 8, tokens + 8, both
        unsigned words[4];
        load_blocks<true>(words, values + swizzled(16 * pair + lane % 8 + lane / 16 * 8, 16 * warp + lane / 8 % 2 * 8));
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int n = 2 * pair + half;
            const Two scale = Channels ? Two{1, 1} : *reinterpret_cast<const Two*>(gamma + 8 * n + 2 * quad_lane);
            sums[4 * n] = first_of(words[2 * half]) - scale.x * sums[4 * n];
            sums[4 * n + 1] = second_of(words[2 * half]) - scale.y * sums[4 * n + 1];
            sums[4 * n + 2] = first_of(words[2 * half + 1]) - scale.x * sums[4 * n + 2];
            sums[4 * n + 3] = second_of(words[2 * half + 1]) - scale.y * sums[4 * n + 3];
        }
    }
}

// Writes the output (with Output), or the states before each chunk and the errors for the gradient. Then writes the final state, if requested.
template <bool Output> __device__ __forceinline__ void scan(const DeltaArguments& args, const ChunkScan& group) {
    float state[KeyTiles][32];
    group.read_state(state, args.initial);
    if constexpr (!HasCopyWarps) group.load_chunk<Output>(0, 0, args.value);
    for (i64 chunk = 0; chunk < args.chunks; chunk++) {
        const Stage stage(group.tiles, chunk % 2, group.slice);
        const i64 begin = chunk * Chunk;
        group.wait_for_chunk();
        unsigned before[4 * KeyTiles][4];
        state_operands(before, state);
        float errors[32], output[32];
        if constexpr (Corrects) {
            clear(errors);
            open();
#pragma unroll
            for (int k = 0; k < 4 * KeyTiles; k++) accumulate<false>(errors, before[k], stage.keys + k / 4 * Tile, k % 4 * 16);
            close();
        }
        if (!HasCopyWarps && chunk + 1 < args.chunks) group.load_chunk<Output>(chunk + 1, (chunk + 1) % 2, args.value);
        if constexpr (!Output) group.store_state(args.states, chunk, chunk % 2, before);
        unsigned left[4][4];
        if constexpr (Corrects) {
            wait_products<0>();
            settled(errors);
            subtract_from_values(errors, stage.slice_tile, stage.gamma, group.warp);
            as_left(left, errors);
            clear(errors);
            open();
#pragma unroll
            for (int k = 0; k < 4; k++) accumulate<false>(errors, left[k], stage.solved, 16 * k);
            close();
        } else group.load_slice(left, stage);
        if constexpr (Output) {
            // while the errors are computed
            clear(output);
            open();
#pragma unroll
            for (int k = 0; k < 4 * KeyTiles; k++) accumulate<false>(output, before[k], stage.queries + k / 4 * Tile, k % 4 * 16);
            close();
            if constexpr (Corrects) wait_products<1>();
        } else wait_products<0>();
        unsigned weighted[4][4];
        if constexpr (Corrects) {
            settled(errors);
            as_left(left, errors);
            if constexpr (!Channels) scale_columns(errors, stage.r);
            as_left(weighted, errors);
        } else copy_operands(weighted, left);
        decay_state(state, stage.gamma);
        if constexpr (Output) {
            wait_products<0>();
            settled(output);
            if constexpr (!Channels) scale_columns(output, stage.gamma);
            open();
#pragma unroll
            for (int k = 0; k < 4; k++) accumulate<false>(output, left[k], stage.scores, 16 * k);
            close();
        }
        open();
#pragma unroll
        for (int kt = 0; kt < KeyTiles; kt++)
#pragma unroll
            for (int k = 0; k < 4; k++) accumulate<true>(state[kt], weighted[k], stage.writing_keys + kt * Tile, 16 * k);
        close();
        // results are written during the products with the state
        if constexpr (Output) {
            wait_products<1>();
            settled(output);
            as_left(left, output);
            group.store_rows(args.output, begin, chunk % 2, left);
        } else if constexpr (Corrects) group.store_rows(args.error, begin, chunk % 2, left);
        wait_products<0>();
#pragma unroll
        for (int kt = 0; kt < KeyTiles; kt++) settled(state[kt]);
    }
    if constexpr (HasCopyWarps) group.wait_for_chunk();
    group.write_state(args.finalState, state);
}

// scales left operands whose columns are tokens
__device__ __forceinline__ void scale_left(unsigned (&operands)[4][4], const float* scales) {
    const int quad_lane = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        const Two scale = *reinterpret_cast<const Two*>(scales + i / 4 * 16 + i % 4 / 2 * 8 + 2 * quad_lane);
        unsigned& word = operands[i / 4][i % 4];
        word = round_to_bfloat16_pair(first_of(word) * scale.x, second_of(word) * scale.y);
    }
}

// From the last chunk to the first: the gradients of the state after each chunk, and those of the values. Then that of the initial state, if
// requested.
__device__ __forceinline__ void scan_back(const DeltaArguments& args, const ChunkScan& group) {
    float state[KeyTiles][32];
    group.read_state(state, args.finalGradient);
    if constexpr (!HasCopyWarps) group.load_chunk<true>(args.chunks - 1, 0, args.gradient);
    for (i64 step = 0; step < args.chunks; step++) {
        const i64 chunk = args.chunks - 1 - step, begin = chunk * Chunk;
        const Stage stage(group.tiles, step % 2, group.slice);
        group.wait_for_chunk();
        unsigned after[4 * KeyTiles][4];
        state_operands(after, state);
        float errors[32], values[32];
        clear(errors);
        open();
#pragma unroll
        for (int k = 0; k < 4 * KeyTiles; k++) accumulate<false>(errors, after[k], stage.writing_keys + k / 4 * Tile, k % 4 * 16);
        close();
        if (!HasCopyWarps && chunk > 0) group.load_chunk<true>(chunk - 1, (step + 1) % 2, args.gradient);
        group.store_state(args.stateGradients, chunk, step % 2, after);
        unsigned gradient[4][4];
        group.load_slice(gradient, stage);
        wait_products<0>();
        settled(errors);
        if constexpr (!Channels) scale_columns(errors, stage.r);
        open();
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<true>(errors, gradient[k], stage.scores, 16 * k);
        close();
        wait_products<0>();
        settled(errors);
        unsigned left[4][4], value_gradients[4][4];
        as_left(left, errors);
        if constexpr (Corrects) {
            clear(values);
            open();
#pragma unroll
            for (int k = 0; k < 4; k++) accumulate<true>(values, left[k], stage.solved, 16 * k);
            close();
        } else copy_operands(value_gradients, left);
        if constexpr (!Channels) scale_left(gradient, stage.gamma);
        decay_state(state, stage.gamma);
        if constexpr (Corrects) {
            wait_products<0>();
            settled(values);
            as_left(value_gradients, values);
#pragma unroll
            for (int i = 0; i < 32; i++) values[i] = -values[i];
            if constexpr (!Channels) scale_columns(values, stage.gamma);
            as_left(left, values);
        }
        open();
#pragma unroll
        for (int kt = 0; kt < KeyTiles; kt++) {
#pragma unroll
            for (int k = 0; k < 4; k++) accumulate<true>(state[kt], gradient[k], stage.queries + kt * Tile, 16 * k);
            if constexpr (Corrects)
#pragma unroll
                for (int k = 0; k < 4; k++) accumulate<true>(state[kt], left[k], stage.keys + kt * Tile, 16 * k);
        }
        close();
        group.store_rows(args.dValue, begin, step % 2, value_gradients);
        wait_products<0>();
#pragma unroll
        for (int kt = 0; kt < KeyTiles; kt++) settled(state[kt]);
    }
    if constexpr (HasCopyWarps) group.wait_for_chunk();
    group.write_state(args.initialGradient, state);
}

#define SCAN_ROLES(helping, working) \
    const ChunkScan group(args); \
    if (group.copies()) helping; \
    else working;

__device__ __forceinline__ void scan_values(const DeltaArguments& args) {
    SCAN_ROLES((group.copy_chunks<true, false, true, false>(args.value, args.output, nullptr)), (scan<true>(args, group)))
}

__device__ __forceinline__ void scan_states(const DeltaArguments& args) {
    SCAN_ROLES((group.copy_chunks<false, true, Corrects, false>(args.value, args.error, args.states)), (scan<false>(args, group)))
}

__device__ __forceinline__ void scan_gradients(const DeltaArguments& args) {
    SCAN_ROLES((group.copy_chunks<true, true, true, true>(args.gradient, args.dValue, args.stateGradients)), (scan_back(args, group)))
}

KERNEL_OF(delta_chunk_scan, Threads, 1, DeltaArguments, scan_values)
KERNEL_OF(delta_chunk_states, Threads, 1, DeltaArguments, scan_states)
KERNEL_OF(delta_chunk_scan_back, Threads, 1, DeltaArguments, scan_gradients)
