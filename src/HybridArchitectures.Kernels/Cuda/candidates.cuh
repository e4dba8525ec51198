// The selection of largest scores: of equal ones that with the lowest number; NaN counts as the largest.
#pragma once
#include "common.cuh"

struct Candidate {
    float score;
    int at;

    __device__ __forceinline__ void take(const Candidate& other) {
        const bool isNaN = score != score, otherNaN = other.score != other.score;
        const bool equal = (isNaN && otherNaN) || score == other.score;
        if ((otherNaN && !isNaN) || (!isNaN && other.score > score) || (equal && other.at < at)) *this = other;
    }

    __device__ __forceinline__ void take_lanes() {
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2)
            take({from_lane_xor(score, offset), static_cast<int>(as_bits(from_lane_xor(as_float(static_cast<unsigned>(at)), offset)))});
    }
};
