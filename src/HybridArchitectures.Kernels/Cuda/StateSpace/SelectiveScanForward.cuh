// The forward direction of the selective scan, and the pass ahead of it that computes what each chunk adds by itself.
#pragma once
#include "SelectiveScanTile.cuh"

// The number of groups of four tokens in one straight sequence of instructions. In float32, one group has as many instructions because of its
// exponentials.
#ifndef SCAN_UNROLL
#define SCAN_UNROLL 4
#endif
// The same for a chunk alone, which shares the instruction cache of a multiprocessor with the main scan.
#ifndef SCAN_LOCAL_UNROLL
#define SCAN_LOCAL_UNROLL 2
#endif

// All other work is interleaved with the scan, so that every part of the program has the same mix of instructions. While four tokens are processed,
// dt and dt x of the next four are computed, and the results of the previous four are finished. Copies run two tiles ahead, and B and C are converted
// to float32 one tile ahead.
// Local computes only what a chunk adds to a state of zeros: forward the state at its end, and backward (Reverse) the gradient of the state at its
// start, from a gradient of zeros at its end. It also sums the time steps, from which the decay over the chunk follows; the sum is 1e30 or more if a
// document starts in the chunk.
template <class E, int K, int J, int S, int Tile, int PartTokens>
template <bool Local, bool Reverse> __device__ __forceinline__ void Scan<E, K, J, S, Tile, PartTokens>::forward() const {
    static_assert(Local || !Reverse, "backward has a separate scan");
    DYNAMIC_SHARED(float, shared);
    float *cuts = shared + 2 * BlockStage, *ring = cuts + 2 * Tile + warp * PerWarp;
    E *rawStates = reinterpret_cast<E*>(cuts + 2 * Tile + Warps * PerWarp), *raw = rawStates + 2 * BlockStage + warp * 3 * WarpStage;
    const int at = scattered<4 * K>(stateLane, S), line = at / K / Lines, column = threadChannel + at % K,
        tilesHere = static_cast<int>(endTile - firstTile);
    const i64 stateToken = args.groups * args.states, firstBegin = (Reverse ? endTile - 1 : firstTile) * Tile, stride = Reverse ? -Tile : Tile;
    const Typed& input = Reverse ? args.gradient : args.x;
    const i64 inputRow = Reverse ? args.gradientRow : args.xRow, inputToken = Reverse ? args.gradientToken : args.xToken;

    const auto source = [&](const Typed& from, i64 rowStride, i64 token) {
        return static_cast<const E*>(from.base) + row * rowStride + (firstBegin + ChannelPieces::line(lane)) * token + firstChannel
            + ChannelPieces::column(lane);
    };
    const i64 stateSource = (row * args.length + firstBegin + StatePieces::line(threadIdx.x)) * stateToken + group * args.states
        + StatePieces::column(threadIdx.x);
    const E *fromInput = source(input, inputRow, inputToken), *fromDt = source(args.dt, args.dtRow, args.dtToken),
        *fromZ = source(args.z, args.zRow, args.zToken);
    const E *fromB = static_cast<const E*>(args.B.base) + stateSource, *fromC = static_cast<const E*>(args.C.base) + stateSource;
    const bool hasColumn = ChannelPieces::column(lane) < count, hasState = StatePieces::column(threadIdx.x) < args.states;
    // Copies the n-th tile; called in order. After the last tile it writes zeros, so that the scan can look ahead without a branch.
    const auto fetch = [&](int n, E* to) {
        const i64 begin = firstBegin + n * stride;
        const int left = n < tilesHere ? left_of(begin) : 0;
        E* states = rawStates + n % 2 * BlockStage;
        if (!Float || args.wide) {
            const int lines = hasColumn ? left : 0, stateLines = hasState ? left : 0;
            if (!Local || !Reverse) StatePieces::copy(states, fromB, stateToken, threadIdx.x, stateLines);
            if (!Local || Reverse) StatePieces::copy(states + Tile * Padded, fromC, stateToken, threadIdx.x, stateLines);
            ChannelPieces::copy(to, fromInput, inputToken, lane, lines);
            ChannelPieces::copy(to + InputSize, fromDt, args.dtToken, lane, lines);
            if (SCAN_GATED && (!Local || Reverse)) ChannelPieces::copy(to + 2 * InputSize, fromZ, args.zToken, lane, lines);
            fromB += stride * stateToken; fromC += stride * stateToken; fromInput += stride * inputToken; fromDt += stride * args.dtToken;
            fromZ += stride * args.zToken;
        } else {
            copy_states(states, begin, left);
            copy_channels(to, input, inputRow, inputToken, begin, left);
            copy_channels(to + InputSize, args.dt, args.dtRow, args.dtToken, begin, left);
            if (SCAN_GATED && (!Local || Reverse)) copy_channels(to + 2 * InputSize, args.z, args.zRow, args.zToken, begin, left);
        }
        copy_commit();
    };

    float state[K][J], rate[K][J], dtBias[V], D[V], stepSums[K], cutSum = 0;
#pragma unroll
    for (int k = 0; k < K; k++) {
        stepSums[k] = 0;
#pragma unroll
        for (int j = 0; j < J; j++) {
            rate[k][j] = holds(k, j) ? args.A[state_at(k, j)] * log2_e : 0.f;
            const float* from = Local ? nullptr : scanOrder > 0 ? args.chunkStates + part_of_row() * args.channels * args.states : args.initial
                ? args.initial + row * args.channels * args.states : nullptr;
            state[k][j] = holds(k, j) && from ? from[state_at(k, j)] : 0.f;
        }
    }
#pragma unroll
    for (int v = 0; v < V; v++) {
        dtBias[v] = args.dtBias && column + v < count ? args.dtBias[firstChannel + column + v] : 0.f;
        D[v] = args.D && column + v < count ? args.D[firstChannel + column + v] : 0.f;
    }
    E *now = raw, *next = raw + WarpStage, *later = raw + 2 * WarpStage;
    fetch(0, now);
    fetch(1, next);
    copy_wait<1>();
    __syncthreads();
    widen_states<1>(rawStates, shared, cuts, firstBegin);
    const int startOfFirst = Reverse ? Tile - 4 : 0;  // the first group of a tile
    float ds[Lines][V], inputs[Lines][V], xs[Lines][V];
    prepare<Reverse>(now + startOfFirst * Channels, dtBias, line, column, ahead_of(firstBegin) - startOfFirst, ds, inputs, xs);
    hand_over(ds, inputs, ring, line, column);
    // Of the previous group: the sums over states, the addends of these (and of the next ones), their factors, and the number of tokens to be
    // written.
    float sums[4 * K], added[Lines][V], addedNext[Lines][V], factor[Lines][V];
    int rest = 0;
    E* to = static_cast<E*>(args.output.base) + (row * args.length + firstBegin - 4 + line) * args.channels + firstChannel + column;
    const bool saves = args.saved && count > 0;
    float* saved = args.saved + saved_at(firstTile);
    const auto finish = [&] {
        reduce_scatter<4 * K, S / 2, 1>(sums, lane);
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            float values[V];
#pragma unroll
            for (int v = 0; v < V; v++) values[v] = SCAN_GATED ? (sums[l * V + v] + added[l][v]) * factor[l][v] : sums[l * V + v] + added[l][v];
            write<V>(args.output, to + l * Apart * args.channels, line + l * Apart < rest, column, values);
        }
        to += 4 * args.channels;
    };
    if (!Local) {
#pragma unroll
        for (int i = 0; i < 4 * K; i++) sums[i] = 0;
#pragma unroll
        for (int l = 0; l < Lines; l++)
#pragma unroll
            for (int v = 0; v < V; v++) added[l][v] = factor[l][v] = 0, addedNext[l][v] = D[v] * xs[l][v];
    }
    for (int n = 0; n < tilesHere; n++) {
        const i64 begin = firstBegin + n * stride;
        copy_wait<0>();
        __syncthreads();  // the next tile has arrived, and no warp needs the previous one
        fetch(n + 2, later);
        widen_states<1>(rawStates + (n + 1) % 2 * BlockStage, shared + (n + 1) % 2 * BlockStage, cuts + (n + 1) % 2 * Tile, begin + stride);
        if (!Local) {
#pragma unroll
            for (int i = 0; i < K * J; i += 4) {
                const float four[4] = {state[i / J][i % J], state[i / J][i % J + 1], state[i / J][i % J + 2], state[i / J][i % J + 3]};
                store_where<float, 4>(saves, saved + state_index(i), four);
            }
            saved += warpsOfRow * StatesSize;
        }
        const float *b = shared + n % 2 * BlockStage + stateLane * J, *c = b + Tile * Padded, *cut = cuts + n % 2 * Tile;
        const int left = ahead_of(begin);
        const int rows = column >= count ? 0 : args.length - begin < Tile ? static_cast<int>(args.length - begin) : Tile;
        constexpr int unrolled = Float ? 1 : Local ? SCAN_LOCAL_UNROLL : SCAN_UNROLL;
#pragma unroll unrolled
        for (int m = 0; m < Tile / 4; m++) {
            const int i = Reverse ? Tile - 4 - 4 * m : 4 * m, following = Reverse ? i - 4 : i + 4;
            const bool inside = m + 1 < Tile / 4;
            const float* group = ring + m % 2 * (4 * GroupRow) + lane / S * 2 * K;
            sync_warp();  // the values prepared for this group have arrived
            if (!Local) finish();
            prepare<Reverse>(inside ? now + following * Channels : next + startOfFirst * Channels, dtBias, line, column,
                inside ? left - following : left - (Reverse ? -Tile : Tile) - startOfFirst, ds, inputs, xs);
            if (!Local)
#pragma unroll
                for (int l = 0; l < Lines; l++) {
                    float gates[V];
                    if (SCAN_GATED) load<E, V>(now + 2 * InputSize, (i + line + l * Apart) * Channels + column, gates);
#pragma unroll
                    for (int v = 0; v < V; v++) {
                        added[l][v] = addedNext[l][v];
                        addedNext[l][v] = D[v] * xs[l][v];
                        if (SCAN_GATED) factor[l][v] = gates[v] * sigmoid<E>(gates[v]);
                    }
                }
            rest = rows - i;
            float cutoff[4];
            cuts_of(cut + i, cutoff);
#pragma unroll
            for (int turn = 0; turn < 4; turn++) {
                const int token = Reverse ? 3 - turn : turn;
                float bs[J], cs[J], steps[2 * K];
                if (!Local || !Reverse) read<J>(b + (i + token) * Padded, bs);
                if (!Local || Reverse) read<J>(c + (i + token) * Padded, cs);
                read<2 * K>(group + token * GroupRow, steps);
#pragma unroll
                for (int k = 0; k < K; k++) {
                    float sum = 0;
#pragma unroll
                    for (int j = 0; j < J; j++) {
                        const float decay = exp2_of<E>(steps[k] * rate[k][j] + cutoff[token]);
                        if (Reverse) state[k][j] = decay * (state[k][j] + steps[K + k] * cs[j]);
                        else state[k][j] = decay * state[k][j] + steps[K + k] * bs[j];
                        if (!Local) sum += state[k][j] * cs[j];
                    }
                    if (!Local) sums[(token % Apart * Lines + token / Apart) * K + k] = sum;
                    if (Local) stepSums[k] += steps[k];
                }
                if (Local) cutSum += Raise - cutoff[token];
            }
            hand_over(ds, inputs, ring + (m + 1) % 2 * (4 * GroupRow), line, column);  // last, because no load is moved before a store
        }
        E* const done = now;
        now = next; next = later; later = done;
    }
    if (!Local) {
        finish();
        if (args.launch == 1) save(args.chunkStates + part_of_row() * args.channels * args.states, state);
        else if (blockIdx.z + 1 == gridDim.z) save(args.final + row * args.channels * args.states, state);
    } else {
        save(args.chunkStates + part_of_row() * args.channels * args.states, state);
#pragma unroll
        for (int k = 0; k < K; k++)
            if (stateLane == 0 && threadChannel + k < count) args.chunkSteps[part_of_row() * args.channels + firstChannel + threadChannel
                + k] = stepSums[k] + cutSum;
    }
}
