// What kernel sources see when they run on a CPU: one fiber for each thread of a block, blocks in turn. The fibers themselves are in runtime.cpp, which is
// compiled once, into the driver's library; every kernel's image is linked against it.
// A fiber runs until it must wait, so indexing, arithmetic and barriers are those of the GPU; speed is not. Threads run in rising order, or in falling order with
// emulation::backwards: running a test both ways shows most missing barriers, which one order hides.
// Barriers are counted, not just a change of fiber: warps may do different numbers of shuffles between two __syncthreads.
// A wait that can never end (a barrier in a branch, a lane that has left), a write past the shared memory that was asked for, and a full stack end
// the program with the block and thread named. Shared memory holds NaN bits when a block starts.
// The C++ headers of the standard library are left out: reading them would take as long as a small kernel.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
extern "C" {
float exp2f(float);
float fmaf(float, float, float);
float log2f(float);
float sqrtf(float);
double sqrt(double);
float tanhf(float);
}
#define HYBRID_EMULATION 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __constant__ static const
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulation::shared_start)
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct Dim3 { unsigned x = 1, y = 1, z = 1; };
extern Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
struct Barrier { unsigned arrived = 0, generation = 0; };
extern char* shared_start;
extern uint64_t* exchange;                  // 8 bytes of each thread, for shuffles
extern unsigned current, alive, threads;    // the running thread, those that have not left, all of the block
extern Barrier named[16];                   // named[0] is __syncthreads

[[noreturn]] void fail(const char* what);
void arrive(Barrier& b, unsigned count);
void barrier(Barrier& b, unsigned count);   // count threads meet here
void warp_barrier(unsigned mask);

template <class T> static T from_lane(unsigned mask, T value, unsigned lane) {
    static_assert(sizeof(T) <= 8, "at most 8 bytes"); unsigned source = current / 32 * 32 + lane;
    if (!(mask >> lane & 1) || source >= threads) fail("a shuffle from a lane outside the mask");
    memcpy(&exchange[current], &value, sizeof(T)); warp_barrier(mask);
    T other; memcpy(&other, &exchange[source], sizeof(T)); warp_barrier(mask); return other;
}
// shows every lane of the warp a piece of each other's memory: look(of), of(lane) the piece
template <class T, class Look> static void show(const T& mine, Look look) {
    exchange[current] = reinterpret_cast<uintptr_t>(&mine); warp_barrier(~0u);
    look([](unsigned lane) -> const T& { return *reinterpret_cast<const T*>(exchange[current / 32 * 32 + lane]); }); warp_barrier(~0u);
}

// copies into shared memory land when they are waited for and not before; until then NaN stands there
void copy_later(void* to, const void* from, size_t bytes, bool there);
void copy_commit();
void copy_wait(unsigned pending);

// A barrier in shared memory at which arrivals and bytes of copies are counted. What is copied in a phase lands when the phase is waited for and not before.
void open_landing(const void* at, unsigned arrivals);
void expect(const void* at, size_t bytes);
void copy_for(const void* at, void* to, const void* from, size_t bytes, bool there);
void wait_for_landing(const void* at, unsigned parity);
}
inline void __syncthreads() { emulation::barrier(emulation::named[0], emulation::alive); }
inline void __syncwarp(unsigned mask = ~0u) { emulation::warp_barrier(mask); }
template <class T> T __shfl_sync(unsigned mask, T value, int lane) { return emulation::from_lane(mask, value, lane & 31); }
template <class T> T __shfl_xor_sync(unsigned mask, T value, int offset) { return emulation::from_lane(mask, value, (emulation::current % 32) ^ offset); }
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by) { unsigned lane = emulation::current % 32; return emulation::from_lane(mask, value, lane < by ? lane : lane - by); }
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by) { unsigned lane = emulation::current % 32; return emulation::from_lane(mask, value, lane + by > 31 ? lane : lane + by); }
