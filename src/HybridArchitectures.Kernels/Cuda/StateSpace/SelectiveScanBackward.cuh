// The gradients of the selective scan.
#pragma once
#include "SelectiveScanTile.cuh"

template <class E, int K, int J, int S, int Tile, int PartTokens>
__device__ __forceinline__ void Scan<E, K, J, S, Tile, PartTokens>::finish(Finished& of, const float (&dtBias)[V], const float (&D)[V], int line,
    int column) const {
#pragma unroll
    for (int l = 0; l < Lines; l++) {
        const int token = line + l * Apart, element = token * Channels + column;
        const i64 offset = of.to + l * Apart * args.channels;
        const bool there = token < of.rest, counts = token < of.counted;
        float xs[V], steps[V], dys[V], result[V], dSteps[V];
        load<E, V>(of.raw, element, xs);
        load<E, V>(of.raw + InputSize, element, steps);
        load<E, V>(of.raw + 2 * InputSize, element, dys);
        if (SCAN_GATED) {
            float gates[V];
            load<E, V>(of.raw + 3 * InputSize, element, gates);
#pragma unroll
            for (int v = 0; v < V; v++) {
                const float open = sigmoid<E>(gates[v]);
                result[v] = dys[v] * (of.outputs[l][v] + D[v] * xs[v]) * silu_slope(gates[v], open);  // after the end of the row, dy is 0
                dys[v] *= gates[v] * open;
            }
            write<V>(args.dZ, static_cast<E*>(args.dZ.base) + offset, there, column, result);
        }
#pragma unroll
        for (int v = 0; v < V; v++) {
            result[v] = of.dts[l][v] * of.inputs[l][v] + D[v] * dys[v];
            of.dD[v] += counts ? dys[v] * xs[v] : 0.f;
            dSteps[v] = of.stepSums[l][v] * (1 / log2_e) + of.inputs[l][v] * xs[v];  // the rates were in powers of two
            if (SCAN_SOFTPLUS) dSteps[v] *= sigmoid<E>(steps[v] + dtBias[v]);
            dSteps[v] = counts ? dSteps[v] : 0.f;
            of.dDtBias[v] += dSteps[v];
        }
        write<V>(args.dX, static_cast<E*>(args.dX.base) + offset, there, column, result);
        write<V>(args.dDt, static_cast<E*>(args.dDt.base) + offset, there, column, dSteps);
    }
    of.to -= 4 * args.channels;
}

// The states before each part of a tile are computed again from those that the forward pass saved at the start of the tile. Then the parts are
// processed from the last: forward once more with all states and decays in registers, and then backward. The results of a part are finished during
// the forward scan of the next one.
template <class E, int K, int J, int S, int Tile, int PartTokens>
__device__ __forceinline__ void Scan<E, K, J, S, Tile, PartTokens>::backward() const {
    DYNAMIC_SHARED(float, shared);
    // folded: (warps, Fold, B and C, Padded)
    float *cut = shared + Copies * CopyStride, *folded = cut + Tile, *dts = folded + Warps * 2 * Fold * Padded + warp * BackwardPerWarp;
    float *dys = dts + Tile * GroupRow, *slots = dys + InputSize;
    E *rawStates = reinterpret_cast<E*>(folded + Warps * (2 * Fold * Padded + BackwardPerWarp)),
        *raw = rawStates + 2 * BlockStage + warp * 2 * BackwardStage;
    const int at = scattered<4 * K>(stateLane, S), line = at / K / Lines, column = threadChannel + at % K,
        tilesHere = static_cast<int>(endTile - firstTile);
    const int turn = lane / S / LeftGroups * Kept;
    const i64 stateToken = args.groups * args.states, lastBegin = (endTile - 1) * Tile;

    // Copies the n-th tile from the last; `slot` receives the states at its start. Addresses are computed each time, because the scan needs the
    // registers.
    const auto fetch = [&](int n, float* part_states) {
        const int ownLane = opaque(lane), ownThread = opaque(static_cast<int>(threadIdx.x));
        const i64 begin = lastBegin - n * static_cast<i64>(Tile);
        const int left = left_of(begin);
        E *states = rawStates + n % 2 * BlockStage, *to = raw + n % 2 * BackwardStage;
        if (!Float || args.wide) {
            const int lines = ChannelPieces::column(ownLane) < count ? left : 0,
                stateLines = StatePieces::column(ownThread) < args.states ? left : 0;
            const auto source = [&](const Typed& from, i64 rowStride, i64 token) {
                return static_cast<const E*>(from.base) + row * rowStride + (begin + ChannelPieces::line(ownLane)) * token + firstChannel
                    + ChannelPieces::column(ownLane);
            };
            const i64 stateSource = (row * args.length + begin + StatePieces::line(ownThread)) * stateToken + group * args.states
                + StatePieces::column(ownThread);
            StatePieces::copy(states, static_cast<const E*>(args.B.base) + stateSource, stateToken, threadIdx.x, stateLines);
            StatePieces::copy(states + Tile * Padded, static_cast<const E*>(args.C.base) + stateSource, stateToken, threadIdx.x, stateLines);
            ChannelPieces::copy(to, source(args.x, args.xRow, args.xToken), args.xToken, lane, lines);
            ChannelPieces::copy(to + InputSize, source(args.dt, args.dtRow, args.dtToken), args.dtToken, lane, lines);
            ChannelPieces::copy(to + 2 * InputSize, source(args.gradient, args.gradientRow, args.gradientToken), args.gradientToken, lane, lines);
            if (SCAN_GATED) ChannelPieces::copy(to + 3 * InputSize, source(args.z, args.zRow, args.zToken), args.zToken, lane, lines);
        } else {
            copy_states(states, begin, left);
            copy_channels(to, args.x, args.xRow, args.xToken, begin, left);
            copy_channels(to + InputSize, args.dt, args.dtRow, args.dtToken, begin, left);
            copy_channels(to + 2 * InputSize, args.gradient, args.gradientRow, args.gradientToken, begin, left);
            if (SCAN_GATED) copy_channels(to + 3 * InputSize, args.z, args.zRow, args.zToken, begin, left);
        }
        const float* fromSaved = args.saved + saved_at(endTile - 1 - n);
#pragma unroll
        for (int i = 0; i < K * J; i += 4) copy_async<16>(part_states + state_index(i), fromSaved + (i / 4 * 32 + ownLane) * 4, count > 0);
        copy_commit();
    };
    const auto store_states = [&](float* part_states, const float (&state)[K][J]) {
#pragma unroll
        for (int i = 0; i < K * J; i += 4) {
            const float four[4] = {state[i / J][i % J], state[i / J][i % J + 1], state[i / J][i % J + 2], state[i / J][i % J + 3]};
            store<float, 4>(part_states, state_index(i), four);
        }
    };
    // Reads B or C of a token.
    const float* const ownStates = shared + (turn & 3) / Kept * CopyStride + stateLane * J;
    const int flip = turn & 4;
    const auto states_of = [&](int offset, float (&to)[J]) {
#pragma unroll
        for (int index = 0; index < J; index += 4) {
            float four[4];
            read<4>(ownStates + offset + (index ^ flip), four);
#pragma unroll
            for (int v = 0; v < 4; v++) to[index + v] = four[v];
        }
    };
    const auto handOver = [&](const float (&ds)[Lines][V], const float (&inputs)[Lines][V], const float (&gradients)[Lines][V], int i) {
        hand_over(ds, inputs, dts + i * GroupRow, line, column);
#pragma unroll
        for (int l = 0; l < Lines; l++) store<float, V>(dys, (i + line + l * Apart) * Channels + column, gradients[l]);
    };

    float rate[K][J], carry[K][J], dRate[K][J], dtBias[V], D[V];  // carry: the gradient of the state from later tokens
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int state = j ^ turn;
            rate[k][j] = holds(k, state) ? args.A[state_at(k, state)] * log2_e : 0.f;
            const float* from = scanOrder > 0 ? args.chunkStates + part_of_row() * args.channels * args.states : args.finalGradient
                ? args.finalGradient + row * args.channels * args.states : nullptr;
            carry[k][j] = holds(k, state) && from ? from[state_at(k, state)] : 0.f;
            dRate[k][j] = 0;
        }
#pragma unroll
    for (int v = 0; v < V; v++) {
        dtBias[v] = args.dtBias && column + v < count ? args.dtBias[firstChannel + column + v] : 0.f;
        D[v] = args.D && column + v < count ? args.D[firstChannel + column + v] : 0.f;
    }

    Finished of;
    of.raw = raw;
    of.counted = of.rest = 0;
    of.to = (row * args.length + lastBegin + Tile + line) * args.channels + firstChannel + column;
#pragma unroll
    for (int l = 0; l < Lines; l++)
#pragma unroll
        for (int v = 0; v < V; v++) of.outputs[l][v] = of.inputs[l][v] = of.stepSums[l][v] = of.dts[l][v] = 0;
    // Of the token after the last one that was folded.
    i64 foldTo = ((blockIdx.x % args.blocksPerGroup * args.batch + row) * args.length + endTile * Tile) * stateToken + group * args.states;
    // Writes the gradients of B and C of Fold tokens from `begin` on, summed over the warps of the block.
    const auto fold = [&](i64 begin) {
        foldTo -= Fold * stateToken;
        for (int e = threadIdx.x * 4; e < 2 * Fold * Padded; e += Threads * 4) {
            const i64 t = begin + e / (2 * Padded), n = e % Padded;
            if (t >= args.length || n >= args.states) continue;
            float sum[4];
            load<float, 4>(folded, e, sum);
#pragma unroll
            for (int w = 1; w < Warps; w++) {
                float more[4];
                load<float, 4>(folded, w * 2 * Fold * Padded + e, more);
#pragma unroll
                for (int v = 0; v < 4; v++) sum[v] += more[v];
            }
            float* to = (e / Padded % 2 ? args.dC : args.dB) + foldTo + e / (2 * Padded) * stateToken + n;
            if (args.states == Padded) store<float, 4>(to, 0, sum);
            else
#pragma unroll
                for (int v = 0; v < 4; v++)
                    if (n + v < args.states) to[v] = sum[v];
        }
    };
    // Selects which sums over channels end in this lane.
    const int groupNumber = lane / S % LeftGroups, end = scattered<2 * Kept>(groupNumber, LeftGroups);
    float* const ownFolded = folded + warp * 2 * Fold * Padded + stateLane * J;

    fetch(0, slots);
    int turned = 0;  // the slot of part 0
    const auto part_states = [&](int part) { return slots + ((turned + part) & (Parts - 1)) * StatesSize; };
    for (int n = 0; n < tilesHere; n++) {
        const i64 begin = lastBegin - n * static_cast<i64>(Tile);
        const int left = left_of(begin), rows = column >= count ? 0 : args.length - begin < Tile ? static_cast<int>(args.length - begin) : Tile;
        const E* now = raw + n % 2 * BackwardStage;
        copy_wait<0>();
        // The copies have arrived, and no warp needs the data of the previous tile.
        __syncthreads();
        widen_states<Copies>(rawStates + n % 2 * BlockStage, shared, cut, begin);
        if (Fold == Tile && n > 0) fold(begin + Tile);
        float state[K][J], ds[Lines][V], added[Lines][V], xs[Lines][V], gradients[Lines][V];
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) state[k][j] = part_states(0)[(k * J + ((j & 4) ^ flip)) * 32 + lane * 4 + ((j & 3) ^ (turn & 3))];
        store_states(part_states(0), state);  // in the order of this lane
        prepare<false>(now, dtBias, line, column, left, ds, added, xs);
        gated(now, line, column, gradients);
        handOver(ds, added, gradients, 0);
        __syncthreads();
#pragma unroll 1
        for (int part = 0; part + 1 < Parts; part++) {
            const int i = part * PartTokens;
            prepare<false>(now + (i + PartTokens) * Channels, dtBias, line, column, left - (i + PartTokens), ds, added, xs);
            gated(now + (i + PartTokens) * Channels, line, column, gradients);
            float cutoff[4];
            cuts_of(cut + i, cutoff);
#pragma unroll
            for (int token = 0; token < PartTokens; token++) {
                float bs[J], steps[2 * K];
                states_of((i + token) * Padded, bs);
                read<2 * K>(dts + (i + token) * GroupRow + lane / S * 2 * K, steps);
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < J; j++)
                        state[k][j] = exp2_of<E>(steps[k] * rate[k][j] + cutoff[token]) * state[k][j] + steps[K + k] * bs[j];
            }
            store_states(part_states(part + 1), state);
            handOver(ds, added, gradients, i + PartTokens);
            sync_warp();
        }
#pragma unroll 1
        for (int part = Parts - 1; part >= 0; part--) {
            const int i = part * PartTokens;
            finish(of, dtBias, D, line, column);
            float history[PartTokens + 1][K][J], decay[PartTokens][K][J], cutoff[4];  // history[token + 1] is the state after token token of the part
            float lastOutput[K], lastForC[J];  // of the last token, so that the state after it is not stored
            cuts_of(cut + i, cutoff);
#pragma unroll
            for (int index = 0; index < K * J; index += 4) {
                float four[4];
                read<4>(part_states(part) + state_index(index), four);
#pragma unroll
                for (int v = 0; v < 4; v++) history[0][index / J][index % J + v] = four[v];
            }
#pragma unroll
            for (int token = 0; token < PartTokens; token++) {
                float bs[J], steps[2 * K];
                states_of((i + token) * Padded, bs);
                read<2 * K>(dts + (i + token) * GroupRow + lane / S * 2 * K, steps);
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < J; j++) {
                        decay[token][k][j] = exp2_of<E>(steps[k] * rate[k][j] + cutoff[token]);
                        history[token + 1][k][j] = decay[token][k][j] * history[token][k][j] + steps[K + k] * bs[j];
                    }
                if (token == PartTokens - 1) {
                    float cs[J], dy[K];
                    states_of((Tile + i + token) * Padded, cs);
                    read<K>(dys + (i + token) * Channels + threadChannel, dy);
#pragma unroll
                    for (int j = 0; j < J; j++) lastForC[j] = 0;
#pragma unroll
                    for (int k = 0; k < K; k++) {
                        lastOutput[k] = 0;
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            lastOutput[k] += history[PartTokens][k][j] * cs[j];
                            lastForC[j] += dy[k] * history[PartTokens][k][j];
                        }
                    }
                }
            }
            float outputSums[PartTokens * K], inputSums[PartTokens * K], stepsSums[PartTokens * K];
#pragma unroll
            for (int token = PartTokens - 1; token >= 0; token--) {
                float bs[J], cs[J], steps[2 * K], dy[K], forStates[2][J];
                states_of((i + token) * Padded, bs);
                states_of((Tile + i + token) * Padded, cs);
                read<2 * K>(dts + (i + token) * GroupRow + lane / S * 2 * K, steps);
                read<K>(dys + (i + token) * Channels + threadChannel, dy);
#pragma unroll
                for (int j = 0; j < J; j++) forStates[0][j] = 0, forStates[1][j] = token == PartTokens - 1 ? lastForC[j] : 0.f;
#pragma unroll
                for (int k = 0; k < K; k++) {
                    float output = token == PartTokens - 1 ? lastOutput[k] : 0.f, input = 0, stepSum = 0;
#pragma unroll
                    for (int j = 0; j < J; j++) {
                        const float dState = dy[k] * cs[j] + carry[k][j];
                        if (token < PartTokens - 1) output += history[token + 1][k][j] * cs[j];
                        input += dState * bs[j];
                        forStates[0][j] += dState * steps[K + k];
                        if (token < PartTokens - 1) forStates[1][j] += dy[k] * history[token + 1][k][j];
                        carry[k][j] = dState * decay[token][k][j];
                        const float through = carry[k][j] * history[token][k][j];
                        stepSum += through * rate[k][j];
                        dRate[k][j] += through * steps[k];
                    }
                    const int at = (token % Apart * Lines + token / Apart) * K + k;
                    outputSums[at] = output; inputSums[at] = input; stepsSums[at] = stepSum;
                }
                // Sums over the channels: first without a choice of halves, then over the remaining groups.
#pragma unroll
                for (int half = J / 2, offset = 16; half >= Kept; half /= 2, offset /= 2)
#pragma unroll
                    for (int j = 0; j < half; j++) {
                        forStates[0][j] += from_lane_xor(forStates[0][half + j], offset);
                        forStates[1][j] += from_lane_xor(forStates[1][half + j], offset);
                    }
                float ends[2 * Kept];
#pragma unroll
                for (int e = 0; e < 2 * Kept; e++) ends[e] = forStates[e / Kept][e % Kept];
                reduce_scatter<2 * Kept, LeftGroups * S / 2, S>(ends, lane);
                if (2 * Kept >= LeftGroups || groupNumber % (LeftGroups / (2 * Kept)) == 0)
#pragma unroll
                    for (int e = 0; e < Owned; e++)
                        ownFolded[((Fold == Tile ? i + token : token) * 2 + (end + e) / Kept) * Padded + ((end + e) % Kept ^ turn)] = ends[e];
            }
            reduce_scatter<PartTokens * K, S / 2, 1>(outputSums, lane);
            reduce_scatter<PartTokens * K, S / 2, 1>(inputSums, lane);
            reduce_scatter<PartTokens * K, S / 2, 1>(stepsSums, lane);
#pragma unroll
            for (int l = 0; l < Lines; l++) {
#pragma unroll
                for (int v = 0; v < V; v++)
                    of.outputs[l][v] = outputSums[l * V + v], of.inputs[l][v] = inputSums[l * V + v], of.stepSums[l][v] = stepsSums[l * V + v];
                load<float, V>(dts, (i + line + l * Apart) * GroupRow + lane / S * 2 * K + column - threadChannel, of.dts[l]);
            }
            of.raw = now + i * Channels; of.counted = left - i; of.rest = rows - i;
            if (part == Parts - 1 && n + 1 < tilesHere) {
                // The previous tile has been finished, and the states of this part have been read.
                sync_warp();
                fetch(n + 1, part_states(part));
            }
            if (Fold < Tile) {
                __syncthreads();
                fold(begin + i);
                __syncthreads();
            }
        }
        turned += Parts - 1;
    }
    finish(of, dtBias, D, line, column);
    __syncthreads();
    if (Fold == Tile) fold(firstTile * Tile);
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int j = 0; j < J; j++)
            if (holds(k, j ^ turn)) {
                args.dA[part_of_row() * args.channels * args.states + state_at(k, j ^ turn)] = dRate[k][j];
                if (args.launch == 1) args.chunkStates[part_of_row() * args.channels * args.states + state_at(k, j ^ turn)] = carry[k][j];
                else if (args.dInitial && blockIdx.z + 1 == gridDim.z) args.dInitial[row * args.channels * args.states
                    + state_at(k, j ^ turn)] = carry[k][j];
            }
    // The sums of a channel over the lanes that finished it, each value counted once.
    sync_warp();
#pragma unroll
    for (int v = 0; v < V; v++) dts[v * 32 + lane] = of.dD[v], dys[v * 32 + lane] = of.dDtBias[v];
    sync_warp();
    if (lane < Channels && lane < count) {
        float dSum = 0, biasSum = 0;
        for (int other = 0; other < S; other += S > 4 * K ? S / (4 * K) : 1) {
            const int from = scattered<4 * K>(other, S) % K, v = lane % K - from;
            if (v < 0 || v >= V) continue;
            dSum += dts[v * 32 + lane / K * S + other];
            biasSum += dys[v * 32 + lane / K * S + other];
        }
        args.dD[part_of_row() * args.channels + firstChannel + lane] = dSum;
        args.dDtBias[part_of_row() * args.channels + firstChannel + lane] = biasSum;
    }
}
