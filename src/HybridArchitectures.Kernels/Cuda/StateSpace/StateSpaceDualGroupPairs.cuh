// The gradients of B, C and the time steps of the state-space dual for compute capability 9.0a, where four warps multiply together (wgmma).
#pragma once
#include "StateSpaceDualGroupChunkScan.cuh"

// The gradients of B, C and the time steps, like Pairs. A group of four warps owns 64 states and, of the 64 x 64 pairs of the chunk, its share of the
// columns.
struct GroupPairs {
    static constexpr int Parts = N / 64, Columns = 64 / Parts, Count = Columns / 2, Size = 2 * SwizzledTile + 2 * Parts * SwizzledTile,
        PerHead = P / 64;
    static constexpr int UnitBytes = 2 * Size + 8 * Q, ChunkBytes = 4 * Parts * SwizzledTile + 4 * Documents * Q;
    // Partial sums: rows, through C and through B (Parts, Q) each, columns (4, Q), the diagonal (Q), inner products and those of D (warps) each, the
    // time steps (Q), and the decay over the chunk. There are two sets: the sums of a head are added up while the next head is processed.
    static constexpr int RowSums = 0, CSums = Parts * Q, BSums = 2 * Parts * Q, ColumnSums = 3 * Parts * Q, Diagonal = ColumnSums + 4 * Q,
        InnerSums = Diagonal + Q,
        SkipSums = InnerSums + 4 * Parts, Deltas = SkipSums + 4 * Parts, Last = Deltas + Q, SumsSize = Last + 4;

    const DualArguments& args;
    i64 row, chunk, projection, firstHead, count, split_, valid, begin;
    int warp, lane, r, q, group, line;  // line: the first row of this thread; the other is line + 8
    u16 *bTile, *cTile, *stages;
    Place bPlace, cPlace, stagePlace, numbersPlace, landed;  // landed: barriers of the stages, and of B and C
    float *numbers, *sums;
    int* begins;

    __device__ __forceinline__ explicit GroupPairs(const DualArguments& arguments) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        bTile = tiles_in(shared);
        cTile = bTile + Parts * SwizzledTile;
        stages = cTile + Parts * SwizzledTile;
        numbers = reinterpret_cast<float*>(stages + PairStages * Size);
        sums = numbers + PairStages * 2 * Q;
        begins = reinterpret_cast<int*>(sums + 2 * SumsSize);
        bPlace = place_of(bTile);
        cPlace = place_of(cTile);
        stagePlace = place_of(stages);
        numbersPlace = place_of(reinterpret_cast<u16*>(numbers));
        landed = place_of(reinterpret_cast<u16*>(begins + Q));
        i64 block = blockIdx.x;
        split_ = block % args.splits;
        block /= args.splits;
        projection = block % args.groups;
        block /= args.groups;
        chunk = block % args.chunks;
        row = args.firstRow + block / args.chunks;
        const i64 perGroup = args.heads / args.groups, part = (perGroup + args.splits - 1) / args.splits;
        firstHead = projection * perGroup + split_ * part;
        count = perGroup - split_ * part;
        count = count < 0 ? 0 : count < part ? count : part;
        valid = args.length;
        if (args.lengths && args.lengths[row] < valid) valid = args.lengths[row];
        begin = chunk * Q;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        group = warp / 4;
        line = warp % 4 * 16 + r;
    }

    // Starts the copies of a share; called by the first thread of each warp.
    __device__ __forceinline__ void load_ahead(int unit, int stage_) const {
        const i64 head = firstHead + unit / PerHead;
        const int offset = unit % PerHead * 64, element = static_cast<int>(head * P) + offset,
            state = static_cast<int>((chunk * args.heads + head) * P) + offset, token = static_cast<int>(begin);
        const Place to = stagePlace + (stage_ * Size + warp * SwizzledTile), barrier = landed + 4 * stage_;
        if (warp == 0) expect(barrier, UnitBytes);
        if (warp == 0) copy_tile(to, args.xMap, element, token, static_cast<int>(row), barrier);
        else if (warp == 1) copy_tile(to, args.gradientMap, element, token, static_cast<int>(row), barrier);
        else if (warp < 2 + Parts) copy_tile(to, args.statesMap, (warp - 2) * 64, state, static_cast<int>(row - args.firstRow), barrier);
        else if (warp < 2 + 2 * Parts) copy_tile(to, args.stateGradientsMap, (warp - 2 - Parts) * 64, state, static_cast<int>(row - args.firstRow),
            barrier);
        const int array = warp - (PairWarps - 2);
        if (array >= 0)
            copy_in(numbersPlace + (stage_ * 2 + array) * 2 * Q, (array ? args.decaySums : args.dt)
                + ((row * args.heads + head) * args.chunks + chunk) * Q, 4 * Q,
            barrier);
    }

    // Writes zeros to padding, in neighbouring tiles.
    __device__ __forceinline__ void clear(u16* tiles, int count_, int validTokens) const {
        for (int tile = 0; tile < count_; tile++)
            for (int i = threadIdx.x; i < (Q - validTokens) * 8; i += PairThreads)
                *reinterpret_cast<Word<16>*>(tiles + tile * SwizzledTile + validTokens * 64 + 8 * i) = {};
        publish();
        sync_warp();
    }

    __device__ __forceinline__ void finish(const float (&dKey)[32], const float (&dQuery)[32]) const {
#pragma unroll
        for (int i = 0; i < 32; i++) {
            const i64 t = begin + line + i % 4 / 2 * 8;
            if (t >= args.length) continue;
            const i64 at = (split_ * args.batch + row) * args.productRow + t * args.productToken + projection * N
                + (group * 64 + i / 4 * 8 + 2 * q + i % 2);
            if (args.splits > 1) {
                static_cast<float*>(args.dB)[at] = dKey[i];
                static_cast<float*>(args.dC)[at] = dQuery[i];
            } else {
                static_cast<Element*>(args.dB)[at] = from_float<Element>(dKey[i]);
                static_cast<Element*>(args.dC)[at] = from_float<Element>(dQuery[i]);
            }
        }
    }

    // Computes sums += weights (rows) x part. Returns the sums over columns of part x tile for the two rows of this thread.
    __device__ __forceinline__ void gather(
        const float (&part)[32], const u16* tile, const float (&weights)[2], float (&into)[32], float (&through)[2]) const {
        const unsigned* words = reinterpret_cast<const unsigned*>(tile) + line * 32 + q;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const unsigned word = words[half * 8 * 32 + (n ^ r) * 4];
                const float low = part[4 * n + 2 * half], high = part[4 * n + 2 * half + 1];
                through[half] += low * first_of(word);
                through[half] += high * second_of(word);
                into[4 * n + 2 * half] += weights[half] * low;
                into[4 * n + 2 * half + 1] += weights[half] * high;
            }
    }

    // Returns the part of this thread in the sum of S dS over a unit.
    __device__ __forceinline__ float inner_product(const u16* state) const {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int at = (i * PairThreads + threadIdx.x) * 8;
            const Raw<bfloat16, 8> validTokens = load_raw<bfloat16, 8>(state, at), right_ = load_raw<bfloat16, 8>(state, Parts * SwizzledTile + at);
#pragma unroll
            for (int j = 0; j < 8; j++) sum += validTokens[j] * right_[j];
        }
        return sum;
    }

    // Computes, from dy x^T of a head, the sums over rows and columns that lead to the time steps, and its part of the gradient of C B^T.
    __device__ __forceinline__ void finish_head(
        const float (&outer)[Count], const float (&products)[Count], float (&dSquare)[Count], const float* dt, const float* decaySums,
        float* sums) const {
        float rows[2] = {}, columns[Count / 2] = {}, dSkip = 0;
        const float sum[2] = {decaySums[line], decaySums[line + 8]};
#pragma unroll
        for (int n = 0; n < Columns / 8; n++) {
            const int block = group * (Columns / 16) + n / 2;
            if (block > warp % 4) continue;
            const bool diagonal = block == warp % 4;
            const int column = group * Columns + 8 * n + 2 * q;
            const Two dts = pair_of(dt, column), others = pair_of(decaySums, column);
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int i = 4 * n + 2 * half + e, to = line + 8 * half, from = column + e;
                    float kept = outer[i] * exp2_approximate(sum[half] - (e ? others.y : others.x));
                    if constexpr (Documents) { if (from < begins[to]) kept = 0; }
                    if (diagonal && from > to) kept = 0;
                    float through = kept * products[i];
                    const float step = e ? dts.y : dts.x;
                    dSquare[i] += kept * step;
                    if (diagonal && from == to) {
                        sums[Diagonal + to] = through;
                        dSkip += outer[i];
                        through = 0;
                    }
                    rows[half] += through * step;
                    columns[2 * n + e] += through;
                }
        }
        // Of the lanes that share q, lane r keeps columns Each r to Each r + Each - 1 of this thread.
        constexpr int Each = Count / 16;
        reduce_scatter<Count / 2, 16, 4>(columns, lane);
#pragma unroll
        for (int i = 0; i < Each; i++) {
            const int mine = Each * r + i;
            sums[ColumnSums + warp % 4 * Q + group * Columns + 8 * (mine / 2) + 2 * q + mine % 2] = columns[i];
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float total = lane_sum(rows[half], 4);
            if (q == 0) sums[RowSums + group * Q + line + 8 * half] = total;
        }
        dSkip = lane_sum(dSkip, 32);
        if (lane == 0) sums[SkipSums + warp] = dSkip;
    }

    // Computes what leads to the time steps of a head from the partial sums of all warps.
    __device__ __forceinline__ void add_up(i64 number) const {
        const float* headSums = sums + number % 2 * SumsSize;
        const i64 head = firstHead + number;
        if (threadIdx.x < Q) {
            const int t = threadIdx.x;
            float rows = 0, columns = 0, c = 0, b = 0;
#pragma unroll
            for (int i = 0; i < Parts; i++) { rows += headSums[RowSums + i * Q + t]; c += headSums[CSums + i * Q + t];
                b += headSums[BSums + i * Q + t]; }
#pragma unroll
            for (int i = 0; i < 4; i++) columns += headSums[ColumnSums + i * Q + t];
            const i64 at = ((row * args.heads + head) * args.chunks + chunk) * Q + t;
            args.suffixTrace[at] = rows + c - headSums[Deltas + t] * columns;
            args.prefixTrace[at] = b;
            args.directTrace[at] = columns + headSums[Diagonal + t];
        } else if (threadIdx.x == PairThreads - 1) {
            float total = 0, dSkip = 0;
#pragma unroll
            for (int i = 0; i < 4 * Parts; i++) { total += headSums[InnerSums + i]; dSkip += headSums[SkipSums + i]; }
            const i64 at = (row * args.chunks + chunk) * args.heads + head;
            args.innerTrace[at] = total * headSums[Last];
            args.dD[at] = dSkip;
        }
    }

    // Starts the copies of B, C and the beginnings of documents of the chunk.
    __device__ __forceinline__ void load_chunk(Place barrier) const {
        expect(barrier, ChunkBytes);
#pragma unroll
        for (int part = 0; part < Parts; part++) {
            copy_tile(bPlace + part * SwizzledTile, args.bMap, static_cast<int>(projection * N) + part * 64, static_cast<int>(begin),
                static_cast<int>(row), barrier);
            copy_tile(cPlace + part * SwizzledTile, args.cMap, static_cast<int>(projection * N) + part * 64, static_cast<int>(begin),
                static_cast<int>(row), barrier);
        }
        if constexpr (Documents) copy_in(place_of(reinterpret_cast<u16*>(begins)), args.documentBegins + (row * args.chunks + chunk) * Q, 4 * Q,
            barrier);
    }

    // Multiplies C by B.
    __device__ __forceinline__ void multiply_chunk(float (&products)[Count]) const {
        open_products();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++)
            start_product<false>(products, operand(cPlace + k / 4 * SwizzledTile, 0, k % 4 * 16),
                operand(bPlace + k / 4 * SwizzledTile, group * Columns, k % 4 * 16), k > 0);
        close_products();
        wait_for_products<0>();
        settle(products);
    }

    __device__ __forceinline__ void run() const {
        float dKey[32] = {}, dQuery[32] = {}, dSquare[Count] = {}, products[Count], outer[Count];
        if (begin >= valid || count == 0) {
            finish(dKey, dQuery);
            for (i64 i = threadIdx.x; i < count; i += PairThreads) args.dD[(row * args.chunks + chunk) * args.heads + firstHead + i] = 0;
            return;
        }
        // Q also if padding is outside of the tensor.
        const int validTokens = valid - begin < Q && valid < args.length ? static_cast<int>(valid - begin) : Q,
            units = static_cast<int>(count) * PerHead;
        if (threadIdx.x == 0)
            for (int i = 0; i <= PairStages; i++) open_barrier(landed + 4 * i, 1);
        __syncthreads();
        const Place barrier = landed + 4 * PairStages;
        if (threadIdx.x == 0) load_chunk(barrier);
        if (lane == 0)
#pragma unroll
            for (int i = 0; i < PairStages - 1; i++)
                if (i < units) load_ahead(i, i);
        sync_warp();
        wait_for_copies(barrier, 0);
        if (validTokens < Q) {
            clear(bTile, 2 * Parts, validTokens);
            __syncthreads();
        }
        multiply_chunk(products);
        float inner = 0, throughQuery[2] = {}, throughKey[2] = {};
        int stage_ = 0, next = PairStages - 1;
        unsigned parity = 0;
        for (int unit = 0; unit < units; unit++) {
            wait_for_copies(landed + 4 * stage_, parity);
            if (validTokens < Q) clear(stages + stage_ * Size, 2, validTokens);
            __syncthreads();
            if (lane == 0 && unit + PairStages - 1 < units) load_ahead(unit + PairStages - 1, next);
            sync_warp();
            if (unit > 0 && unit % PerHead == 0) add_up(unit / PerHead - 1);
            const bool begins_head = PerHead == 1 || unit % PerHead == 0, ends_head = PerHead == 1 || unit % PerHead == PerHead - 1;
            const Place in = stagePlace + stage_ * Size, gradient = in + SwizzledTile, state = in + (2 + group) * SwizzledTile,
                back = in + (2 + Parts + group) * SwizzledTile;
            const float *dt = numbers + stage_ * 2 * Q, *decaySums = dt + Q;
            open_products();
            float forQuery[32], forKey[32];
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<true>(forQuery, operand(gradient, 0, 16 * k), operand(state, 16 * k, 0), k > 0);
            close_products();
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<true>(forKey, operand(in, 0, 16 * k), operand(back, 16 * k, 0), k > 0);
#pragma unroll
            for (int k = 0; k < 4; k++)
                start_product<false>(outer, operand(gradient, 0, 16 * k), operand(in, group * Columns, 16 * k), !begins_head || k > 0);
            close_products();
            const int edge = Documents ? begins[Q - 1] : -1;
            float fromEdge[2], toEdge[2], weights[2];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int t = line + 8 * half;
                fromEdge[half] = Documents && begins[t] >= 0 ? 0.f : exp2_approximate(decaySums[t]);
                toEdge[half] = Documents && t < edge ? 0.f : exp2_approximate(decaySums[Q - 1] - decaySums[t]);
                weights[half] = toEdge[half] * dt[t];
            }
            inner += inner_product(stages + stage_ * Size + 2 * SwizzledTile);
            wait_for_products<1>();
            settle(forQuery);
            gather(forQuery, cTile + group * SwizzledTile, fromEdge, dQuery, throughQuery);
            wait_for_products<0>();
            settle(forKey);
            settle(outer);
            gather(forKey, bTile + group * SwizzledTile, weights, dKey, throughKey);
            if (ends_head) {  // all channels of the head have been processed
                float* headSums = sums + unit / PerHead % 2 * SumsSize;
                finish_head(outer, products, dSquare, dt, decaySums, headSums);
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int t = line + 8 * half;
                    const float c = lane_sum(throughQuery[half], 4) * fromEdge[half], b = lane_sum(throughKey[half], 4) * toEdge[half];
                    if (q == 0) {
                        headSums[CSums + group * Q + t] = c;
                        headSums[BSums + group * Q + t] = b;
                    }
                    throughQuery[half] = throughKey[half] = 0;
                }
                inner = lane_sum(inner, 32);
                if (lane == 0) headSums[InnerSums + warp] = inner;
                inner = 0;
                if (threadIdx.x < Q) headSums[Deltas + threadIdx.x] = dt[threadIdx.x];
                else if (threadIdx.x == Q) headSums[Last] = edge >= 0 ? 0.f : exp2_approximate(decaySums[Q - 1]);
            }
            stage_ = stage_ + 1 < PairStages ? stage_ + 1 : 0;
            parity ^= stage_ == 0;
            next = next + 1 < PairStages ? next + 1 : 0;
        }
        __syncthreads();
        add_up(count - 1);
        // The sum over heads of their pairs, multiplied by B and C.
#pragma unroll
        for (int i = 0; i < Count; i++) {
            const int to = line + i % 4 / 2 * 8, from = group * Columns + i / 4 * 8 + 2 * q + i % 2;
            const u16 bits = round_to_bfloat16(dSquare[i]);
            stages[swizzled(to, from)] = bits;
            stages[SwizzledTile + swizzled(from, to)] = bits;
        }
        publish();
        __syncthreads();
        open_products();
#pragma unroll
        for (int k = 0; k < 4; k++)
            start_product<true>(dQuery, operand(stagePlace, 0, 16 * k), operand(bPlace + group * SwizzledTile, 16 * k, 0), true);
#pragma unroll
        for (int k = 0; k < 4; k++)
            start_product<true>(dKey, operand(stagePlace + SwizzledTile, 0, 16 * k), operand(cPlace + group * SwizzledTile, 16 * k, 0), true);
        close_products();
        wait_for_products<0>();
        settle(dQuery);
        settle(dKey);
        finish(dKey, dQuery);
    }
};
