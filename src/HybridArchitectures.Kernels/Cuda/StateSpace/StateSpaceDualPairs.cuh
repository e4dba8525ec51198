// The gradients of B, C and the time steps of the state-space dual, from pairs of tokens of a chunk, with products of single warps.
#pragma once
#include "StateSpaceDualChunkScan.cuh"

struct Pairs {
    using ChannelsTile = Tile<Q, Unit>;
    using State = Tile<Unit, NPad>;
    using StatesTile = Tile<Q, NPad>;
    using Square = Tile<Q, Q>;
    static constexpr int StageSize = 2 * ChannelsTile::Size + 2 * State::Size, UnitSteps = Unit / 16;
    // The blocks of 16 of a warp.
    static constexpr int Columns = (Blocks + ColumnWarps - 1) / ColumnWarps, States = (KSteps + ColumnWarps - 1) / ColumnWarps;
    static constexpr int Arrays = Planes > 1 ? 3 : 2, Numbers = Q * Arrays;  // dt, decaySums, what rounding removed

    // Partial sums: rows, through C and through B (ColumnWarps, Q) each, columns (RowWarps, Q), the diagonal (Q), and inner products and those of D
    // (PairWarps) each.
    static constexpr int RowSums = 0, CSums = ColumnWarps * Q, BSums = 2 * ColumnWarps * Q, ColumnSums = 3 * ColumnWarps * Q,
    Diagonal = ColumnSums + RowWarps * Q,
        InnerSums = Diagonal + Q, SkipSums = InnerSums + PairWarps, SumsSize = (SkipSums + PairWarps + 3) / 4 * 4;

    const DualArguments& args;
    i64 row, chunk, group, firstHead, count, split_, valid, begin;
    int warp, lane, r, q, rowWarp, columnWarp;
    u16 *bTile, *cTile, *stages;
    Place bPlace, cPlace, stagePlace;
    float* numbers;
    Sum* sums;
    int* begins;

    __device__ __forceinline__ explicit Pairs(const DualArguments& arguments) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        bTile = shared;
        cTile = bTile + StatesTile::Size;
        stages = cTile + StatesTile::Size;
        numbers = reinterpret_cast<float*>(stages + PairStages * StageSize);
        sums = reinterpret_cast<Sum*>(numbers + PairStages * Numbers);
        begins = reinterpret_cast<int*>(sums + SumsSize);
        bPlace = place_of(bTile);
        cPlace = place_of(cTile);
        stagePlace = place_of(stages);
        i64 block = blockIdx.x;
        split_ = block % args.splits;
        block /= args.splits;
        group = block % args.groups;
        block /= args.groups;
        chunk = block % args.chunks;
        row = args.firstRow + block / args.chunks;
        const i64 perGroup = args.heads / args.groups, part = (perGroup + args.splits - 1) / args.splits;
        firstHead = group * perGroup + split_ * part;
        count = perGroup - split_ * part;
        count = count < 0 ? 0 : count < part ? count : part;
        valid = args.length;
        if (args.lengths && args.lengths[row] < valid) valid = args.lengths[row];
        begin = chunk * Q;
        warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        rowWarp = warp % RowWarps;
        columnWarp = warp / RowWarps;
    }

    __device__ __forceinline__ void load_ahead(i64 unit, int stage_) const {
        const i64 head = firstHead + unit / Units, offset = unit % Units * Unit, left = valid - begin, inToken = args.xToken,
            gradientToken = args.gradientToken;
        u16* to = stages + stage_ * StageSize;
        const int width = P - offset < Unit ? static_cast<int>(P - offset) : Unit;
        const Element* in = static_cast<const Element*>(args.x) + row * args.xRow + begin * inToken + head * P + offset;
        stage<ChannelsTile, Q, Unit, PairThreads>(to, in, inToken, left, width, args.wide);
        const Element* gradient = static_cast<const Element*>(args.gradient) + row * args.gradientRow + begin * gradientToken + head * P + offset;
        stage<ChannelsTile, Q, Unit, PairThreads>(to + ChannelsTile::Size, gradient, gradientToken, left, width, args.wide);
        const i64 state = ((((row - args.firstRow) * args.chunks + chunk) * args.heads + head) * P + offset) * N;
        stage<State, Unit, NPad, PairThreads>(to + 2 * ChannelsTile::Size, static_cast<const Element*>(args.states) + state, N, width, N, args.wide);
        stage<State, Unit, NPad, PairThreads>(
            to + 2 * ChannelsTile::Size + State::Size, static_cast<const Element*>(args.stateGradients) + state, N, width, N, args.wide);
        const float* from = args.dt + ((row * args.heads + head) * args.chunks + chunk) * Q;
        const i64 decaySums = args.decaySums - args.dt, low = args.decaySumsLow - args.dt;
        stage_numbers<Arrays, PairThreads>(
            numbers + stage_ * Numbers, threadIdx.x, [=](int array) { return from + (array == 0 ? 0 : array == 1 ? decaySums : low); });
    }

    __device__ __forceinline__ static float quad_sum(float value) { return lane_sum(value, 4); }

    __device__ __forceinline__ void finish(const float (&dKey)[States][2][4], const float (&dQuery)[States][2][4]) const {
#pragma unroll
        for (int s = 0; s < States; s++)
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const i64 t = begin + 16 * rowWarp + r + e / 2 * 8;
                    const int state = 16 * (columnWarp + s * ColumnWarps) + 8 * n + 2 * q + e % 2;
                    if (t >= args.length || state >= N) continue;
                    const i64 at = (split_ * args.batch + row) * args.productRow + t * args.productToken + group * N + state;
                    if (args.splits > 1) {
                        static_cast<float*>(args.dB)[at] = dKey[s][n][e];
                        static_cast<float*>(args.dC)[at] = dQuery[s][n][e];
                    } else {
                        static_cast<Element*>(args.dB)[at] = from_float<Element>(dKey[s][n][e]);
                        static_cast<Element*>(args.dC)[at] = from_float<Element>(dQuery[s][n][e]);
                    }
                }
    }

    __device__ __forceinline__ void run() const {
        float dKey[States][2][4] = {}, dQuery[States][2][4] = {}, dSquare[Columns][2][4] = {}, products[Columns][2][4] = {},
            outer[Columns][2][4] = {};
        if (begin >= valid || count == 0) {
            finish(dKey, dQuery);
            for (i64 i = threadIdx.x; i < count; i += PairThreads) args.dD[(row * args.chunks + chunk) * args.heads + firstHead + i] = 0;
            return;
        }
        {
            const i64 left = valid - begin;
            stage<StatesTile, Q, NPad, PairThreads>(
                bTile, static_cast<const Element*>(args.B) + row * args.bRow + begin * args.bToken + group * N, args.bToken, left, N, args.wide);
            stage<StatesTile, Q, NPad, PairThreads>(
                cTile, static_cast<const Element*>(args.C) + row * args.cRow + begin * args.cToken + group * N, args.cToken, left, N, args.wide);
            if constexpr (Documents) {
                const float* begins_ = reinterpret_cast<const float*>(args.documentBegins) + (row * args.chunks + chunk) * Q;
                stage_numbers<1, PairThreads>(reinterpret_cast<float*>(begins), threadIdx.x, [=](int) { return begins_; });
            }
        }
        load_ahead(0, 0);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block > rowWarp) continue;
#pragma unroll
            for (int k = 0; k < KSteps; k++)
                add_product(products[c][0], products[c][1], left<StatesTile, false>(cPlace, 16 * rowWarp, 16 * k),
                    right<StatesTile, false>(bPlace, 16 * k, 16 * block));
        }
        const int edge = Documents ? begins[Q - 1] : -1;
        float inner = 0;
        float throughQuery[2] = {}, throughKey[2] = {};                             // of rows r and r + 8
        for (i64 unit = 0; unit < count * Units; unit++) {
            const int stage_ = PairStages == 2 ? static_cast<int>(unit % 2) : 0;
            if (unit > 0) {
                copy_wait<0>();
                __syncthreads();
            }
            if (PairStages == 2 && unit + 1 < count * Units) load_ahead(unit + 1, 1 - stage_);
            copy_commit();
            const u16 *states = stages + stage_ * StageSize + 2 * ChannelsTile::Size, *backStates = states + State::Size;
            const Place in = stagePlace + stage_ * StageSize, gradient = in + ChannelsTile::Size, state = gradient + ChannelsTile::Size,
                back = state + State::Size;
            const float *dt = numbers + stage_ * Numbers, *decaySums = dt + Q;
            Left gradients[UnitSteps];
#pragma unroll
            for (int k = 0; k < UnitSteps; k++) gradients[k] = left<ChannelsTile, false>(gradient, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int c = 0; c < Columns; c++) {
                const int block = columnWarp + c * ColumnWarps;
                if (block > rowWarp) continue;
#pragma unroll
                for (int k = 0; k < UnitSteps; k++) add_product(outer[c][0], outer[c][1], gradients[k], right<ChannelsTile,
                    false>(in, 16 * k, 16 * block));
            }
            float fromEdge[2], toEdge[2];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int t = 16 * rowWarp + r + 8 * half;
                fromEdge[half] = Documents && begins[t] >= 0 ? 0.f : decay(decaySums, t);
                toEdge[half] = Documents && t < edge ? 0.f : decay(decaySums, Q - 1, t);
            }
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                float part[2][4] = {};
#pragma unroll
                for (int k = 0; k < UnitSteps; k++) add_product(part[0], part[1], gradients[k], right<State, true>(state, 16 * k, 16 * block));
#pragma unroll
                for (int n = 0; n < 2; n++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const Two other = value<StatesTile>(cTile, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q);
                        throughQuery[half] += part[n][2 * half] * other.x + part[n][2 * half + 1] * other.y;
                        dQuery[s][n][2 * half] += fromEdge[half] * part[n][2 * half];
                        dQuery[s][n][2 * half + 1] += fromEdge[half] * part[n][2 * half + 1];
                    }
            }
#pragma unroll
            for (int k = 0; k < UnitSteps; k++) gradients[k] = left<ChannelsTile, false>(in, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                float part[2][4] = {};
#pragma unroll
                for (int k = 0; k < UnitSteps; k++) add_product(part[0], part[1], gradients[k], right<State, true>(back, 16 * k, 16 * block));
#pragma unroll
                for (int n = 0; n < 2; n++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const float weight = toEdge[half] * dt[16 * rowWarp + r + 8 * half];
                        const Two other = value<StatesTile>(bTile, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q);
                        throughKey[half] += part[n][2 * half] * other.x + part[n][2 * half + 1] * other.y;
                        dKey[s][n][2 * half] += weight * part[n][2 * half];
                        dKey[s][n][2 * half + 1] += weight * part[n][2 * half + 1];
                    }
            }
            inner += inner_product(states, backStates);
            if (unit % Units == Units - 1) {  // all channels of the head have been processed
                const i64 head = firstHead + unit / Units;
                finish_head(outer, products, dSquare, dt, decaySums);
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int t = 16 * rowWarp + r + 8 * half;
                    const float forQuery = quad_sum(throughQuery[half]) * fromEdge[half], forKey = quad_sum(throughKey[half]) * toEdge[half];
                    if (q == 0) {
                        sums[CSums + columnWarp * Q + t] = forQuery;
                        sums[BSums + columnWarp * Q + t] = forKey;
                    }
                    throughQuery[half] = throughKey[half] = 0;
                }
                inner = lane_sum(inner, 32);
                if (lane == 0) sums[InnerSums + warp] = inner;
                inner = 0;
                __syncthreads();
                if (threadIdx.x < Q) {
                    const int t = threadIdx.x;
                    Sum rows = 0, columns = 0, c = 0, b = 0;
#pragma unroll
                    for (int i = 0; i < ColumnWarps; i++) { rows += sums[RowSums + i * Q + t]; c += sums[CSums + i * Q + t];
                        b += sums[BSums + i * Q + t]; }
#pragma unroll
                    for (int i = 0; i < RowWarps; i++) columns += sums[ColumnSums + i * Q + t];
                    const i64 at = ((row * args.heads + head) * args.chunks + chunk) * Q + t;
                    args.suffixTrace[at] = rows + c - dt[t] * columns;
                    args.prefixTrace[at] = static_cast<float>(b);
                    args.directTrace[at] = static_cast<float>(columns + sums[Diagonal + t]);
                } else if (threadIdx.x == PairThreads - 1) {
                    Sum total = 0, dSkip = 0;
#pragma unroll
                    for (int i = 0; i < PairWarps; i++) { total += sums[InnerSums + i]; dSkip += sums[SkipSums + i]; }
                    const i64 at = (row * args.chunks + chunk) * args.heads + head;
                    args.innerTrace[at] = edge >= 0 ? 0.f : static_cast<float>(total) * decay(decaySums, Q - 1);
                    args.dD[at] = static_cast<float>(dSkip);
                }
            }
            if (PairStages == 1 && unit + 1 < count * Units) {
                __syncthreads();
                load_ahead(unit + 1, 0);
                copy_commit();
            }
        }
        // The sum over heads of their pairs, multiplied by B and C once.
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block >= Blocks) continue;
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    put<Square>(stages, 16 * rowWarp + r + 8 * half, 16 * block + 8 * n + 2 * q, dSquare[c][n][2 * half],
                        dSquare[c][n][2 * half + 1]);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            const Left straight = left<Square, false>(stagePlace, 16 * rowWarp, 16 * k),
                turned = left<Square, true>(stagePlace, 16 * rowWarp, 16 * k);
#pragma unroll
            for (int s = 0; s < States; s++) {
                const int block = columnWarp + s * ColumnWarps;
                if (block >= KSteps) continue;
                if (k <= rowWarp) add_product(dQuery[s][0], dQuery[s][1], straight, right<StatesTile, true>(bPlace, 16 * k, 16 * block));
                if (k >= rowWarp) add_product(dKey[s][0], dKey[s][1], turned, right<StatesTile, true>(cPlace, 16 * k, 16 * block));
            }
        }
        finish(dKey, dQuery);
    }

    // Returns 2^(sum up to t), or the remainder of `from` at t.
    __device__ __forceinline__ static float decay(const float* decaySums,
        int t) { return exp2_of<Element>(Planes > 1 ? decaySums[t] + decaySums[Q + t] : decaySums[t]); }

    __device__ __forceinline__ static float decay(const float* decaySums, int t, int from) {
        float exponent = decaySums[t] - decaySums[from];
        if constexpr (Planes > 1) exponent += decaySums[Q + t] - decaySums[Q + from];
        return exp2_of<Element>(exponent);
    }

    // Returns the part of this thread in the sum of S dS over a unit.
    __device__ __forceinline__ static float inner_product(const u16* state, const u16* back) {
        float sum = 0;
        constexpr int PerRow = NPad / 8, All = Unit * PerRow;
#pragma unroll
        for (int pass = 0; pass < (All + PairThreads - 1) / PairThreads; pass++) {
            const int i = pass * PairThreads + threadIdx.x;
            if (All % PairThreads && i >= All) continue;
            const int at = i / PerRow * State::Stride + i % PerRow * 8;
            float leftValues[8], rightValues[8];
#pragma unroll
            for (int plane = Planes - 1; plane >= 0; plane--) {
                const Raw<bfloat16, 8> a = load_raw<bfloat16, 8>(state, plane * State::Plane + at),
                    b = load_raw<bfloat16, 8>(back, plane * State::Plane + at);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    leftValues[j] = plane == Planes - 1 ? a[j] : leftValues[j] + a[j];
                    rightValues[j] = plane == Planes - 1 ? b[j] : rightValues[j] + b[j];
                }
            }
#pragma unroll
            for (int j = 0; j < 8; j++) sum += leftValues[j] * rightValues[j];
        }
        return sum;
    }

    // Computes, from dy x^T of a head, the sums over rows and columns that lead to the time steps, and its part of the gradient of C B^T.
    __device__ __forceinline__ void finish_head(
        float (&outer)[Columns][2][4], const float (&products)[Columns][2][4], float (&dSquare)[Columns][2][4],
        const float* dt, const float* decaySums) const {
        Sum rows[2] = {}, columns[4 * Columns] = {};
        float dSkip = 0;
#pragma unroll
        for (int c = 0; c < Columns; c++) {
            const int block = columnWarp + c * ColumnWarps;
            if (block > rowWarp) continue;
            const bool diagonal = block == rowWarp;
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const int column = 16 * block + 8 * n + 2 * q;
                const Two dts = pair_of(dt, column), others = pair_of(decaySums, column),
                    othersLow = Planes > 1 ? pair_of(decaySums + Q, column) : Two{0, 0};
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int to = 16 * rowWarp + r + 8 * half;
                    const float sum = decaySums[to], low = Planes > 1 ? decaySums[Q + to] : 0.f;
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int from = column + e;
                        float exponent = sum - (e ? others.y : others.x);
                        if constexpr (Planes > 1) exponent += low - (e ? othersLow.y : othersLow.x);
                        float& value_ = outer[c][n][2 * half + e];
                        float kept = value_ * exp2_of<Element>(exponent);
                        if constexpr (Documents) { if (from < begins[to]) kept = 0; }
                        if (diagonal && from > to) kept = 0;
                        float through = kept * products[c][n][2 * half + e];
                        const float step = e ? dts.y : dts.x;
                        dSquare[c][n][2 * half + e] += kept * step;
                        if (diagonal && from == to) {
                            sums[Diagonal + to] = through;
                            dSkip += value_;
                            through = 0;
                        }
                        rows[half] += static_cast<Sum>(through) * step;
                        columns[4 * c + 2 * n + e] += through;
                        value_ = 0;
                    }
                }
            }
        }
        // Lane r of the lanes that share q keeps column r of this thread.
        reduce_scatter<4 * Columns, 16, 4>(columns, lane);
        const int mine = 4 * Columns == 8 ? r : r / 2;
        const int block = columnWarp + mine / 4 * ColumnWarps;
        if (block < Blocks) sums[ColumnSums + rowWarp * Q + 16 * block + 8 * (mine / 2 % 2) + 2 * q + mine % 2] = columns[0];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const Sum total = lane_sum(rows[half], 4);
            if (q == 0) sums[RowSums + columnWarp * Q + 16 * rowWarp + r + 8 * half] = total;
        }
        dSkip = lane_sum(dSkip, 32);
        if (lane == 0) sums[SkipSums + warp] = dSkip;
    }
};
