// The gated delta rule with a decay per key channel, within chunks: what the kernels of its pairs of tokens share.
//
// The weight G[i, j] = exp(c[i] - c[j]) of a product of two tokens is a vector over the elements of a key, so a product of matrices needs it as a
// product of two factors. Both are at most 1 if they refer to a token between j and i: exp(c[i] - c[m]) exp(c[m] - c[j]), j < m <= i. Nothing is
// divided by a decay, so no decay is too strong. A chunk is halved three times: the pairs of a token of the second 32 and one of the first 32 refer
// to token 32, and so on with 16 and 8 tokens. At each of these levels, a token has either the first factor (it is the row of a pair: bit `half` of
// its number is 1) or the second (column). The products of the levels run on tensor cores with factors in bfloat16. The pairs within 8 tokens are
// weighed one by one in float32.
#pragma once
#include "gated_delta.cuh"

// floats of a row of decays: rows of four lanes in a row of shared memory start in different banks
constexpr int DecayPitch = 64 * KeyTiles + 8, DecayFloats = Chunk * DecayPitch;

// in shared memory: c of a head in units of log 2, (64, K), with DecayPitch; beta, and how many documents have started in the chunk, 64 of each
struct ChannelNumbers {
    float *c, *beta, *document;

    static constexpr int Floats = DecayFloats + 2 * Chunk;

    __device__ __forceinline__ explicit ChannelNumbers(float* at) : c(at), beta(at + DecayFloats), document(beta + Chunk) {}

    __device__ __forceinline__ Two decays(int token, int channel) const {
        return *reinterpret_cast<const Two*>(c + token * DecayPitch + channel);
    }

    __device__ __forceinline__ bool same_document(int i, int j) const { return document[i] == document[j]; }

    // whether a token reads the state before the chunk, and whether what it writes is in the state after the chunk
    __device__ __forceinline__ bool reads_state(int token) const { return document[token] == 0; }
    __device__ __forceinline__ bool writes_state(int token) const { return document[token] == document[Chunk - 1]; }
};

// the token to which the pairs of a level refer
__device__ __forceinline__ int reference_of(int token, int half) { return token / (2 * half) * 2 * half + half; }

// exp(c[i] - c[j]) of two elements, or exp(c[j] - c[i]) with a sign of -1: a branch would cost more
__device__ __forceinline__ Two between(Two i, Two j, float sign = 1) {
    return {exp2_approximate(sign * (i.x - j.x)), exp2_approximate(sign * (i.y - j.y))};
}

// the place of an element in tiles of 64 columns, `Tile` elements apart
__device__ __forceinline__ int in_tiles(int token, int channel) { return channel / 64 * Tile + swizzled(token, channel % 64); }

__device__ __forceinline__ unsigned word_at(const u16* tiles, int token, int channel) {
    return *reinterpret_cast<const unsigned*>(tiles + in_tiles(token, channel));
}

__device__ __forceinline__ unsigned scaled(unsigned word, Two scale) {
    return round_to_bfloat16_pair(first_of(word) * scale.x, second_of(word) * scale.y);
}

// Loads decays of one element, one per token from `first` on. The first `count` of them exist, and the rest is zeros. Tokens after `last` are not
// read: all loads are on their way together, without branches.
template <class T, int Length>
__device__ __forceinline__ void load_decays(float (&decays)[Length], const HeadNumbers& from, i64 at, int first, int last, i64 count) {
#pragma unroll
    for (int i = 0; i < Length; i++) decays[i] = load_one<T>(from.numbers.base, at + (first + i < last ? first + i : last) * from.tokenStride);
#pragma unroll
    for (int i = 0; i < Length; i++) decays[i] = i < count ? decays[i] : 0.f;
}

// Computes the numbers of a chunk; called by all threads of a block. Each thread loads all of its decays at once, and threads take turns to add. Sums
// are exact to a last place or two, which is all that their differences need. A decay below -88 leaves nothing either, and would cost digits of the
// decays after it.
template <int Threads> __device__ __forceinline__ void channel_numbers(
    const ChannelNumbers& numbers, const DeltaArguments& args, i64 row, i64 head, i64 begin, i64 end) {
    constexpr int Parts = Threads / (64 * KeyTiles), Length = Chunk / Parts;
    const int channel = threadIdx.x % (64 * KeyTiles), part = threadIdx.x / (64 * KeyTiles), first = part * Length;
    const HeadNumbers& from = args.decay;
    const int last = static_cast<int>(minimum(args.length - begin, Chunk)) - 1;
    const i64 at = row * from.rowStride + begin * from.tokenStride + head * from.headStride + (channel < KeySize ? channel : KeySize - 1);
    const i64 count = channel < KeySize ? end - begin - first : 0;
    float decays[Length];
    if (from.numbers.bfloat16) load_decays<bfloat16>(decays, from, at, first, last, count);
    else load_decays<float>(decays, from, at, first, last, count);
    for (int turn = 0; turn < Parts; turn++) {
        if (turn > 0) __syncthreads();
        if (part != turn) continue;
        double sum = turn > 0 ? numbers.c[(first - 1) * DecayPitch + channel] : 0.f;
#pragma unroll
        for (int i = 0; i < Length; i++) {
            sum += (decays[i] < -88.f ? -88.f : decays[i]) * log2_e;
            numbers.c[(first + i) * DecayPitch + channel] = static_cast<float>(sum);
        }
    }
    const int token = threadIdx.x;
    if (token < Chunk) {
        float documents = 0;
        if (args.starts)
            for (i64 at = begin; at <= begin + token && at < end; at++) documents += args.starts[row * args.length + at];
        numbers.document[token] = documents;
        numbers.beta[token] = begin + token >= end ? 0.f : Corrects ? args.strength.at(row, begin + token, head) : 1.f;
    }
}
