// Runs the kernel sources on a CPU: one fiber for each thread of a block, blocks in turn.
// A fiber runs until it must wait, so indexing, arithmetic and barriers are those of the card; speed is not. Threads run in rising order, or falling with
// emulation::backwards: running a test both ways shows most missing barriers, which one order hides.
// Barriers are counted, not just a change of fiber: warps may do different numbers of shuffles between two __syncthreads.
// A wait that can never end (a barrier in a branch, a lane that has left), and a write past the shared memory that was asked for, end the program with the block
// and thread named. Shared memory holds NaN bits when a block starts.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <ucontext.h>
#include <vector>
#define HYBRID_EMULATION 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __constant__ static const
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulation::shared_start)
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct Dim3 { unsigned x = 1, y = 1, z = 1; };
static Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
// A change of fiber. swapcontext asks the system for the signal mask each time, which took most of a kernel's run; what the calling convention keeps is enough here.
#ifdef __x86_64__
extern "C" __attribute__((visibility("hidden"))) void emulation_switch(void** from, void* to);
asm(R"(
    .text
    .hidden emulation_switch
    .globl emulation_switch
    .type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulation_switch, . - emulation_switch
)");
struct Fiber {
    void* stack = nullptr;
    void prepare(std::vector<char>& memory, void (*entry)()) {
        auto top = reinterpret_cast<uintptr_t>(memory.data() + memory.size()) / 16 * 16;
        auto words = reinterpret_cast<void**>(top) - 8;                // six registers, where to begin, and nowhere to return to
        for (int i = 0; i < 8; i++) words[i] = nullptr;
        words[6] = reinterpret_cast<void*>(entry);
        stack = words;
    }
    void go_to(Fiber& other) { emulation_switch(&stack, other.stack); }
};
#else
struct Fiber {
    ucontext_t context;
    void prepare(std::vector<char>& memory, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = memory.data(); context.uc_stack.ss_size = memory.size(); context.uc_link = nullptr; makecontext(&context, entry, 0);
    }
    void go_to(Fiber& other) { swapcontext(&context, &other.context); }
};
#endif

struct Barrier { unsigned arrived = 0, generation = 0; };
static const size_t guard = 4096;      // bytes around shared memory
using Kernel = void (*)(void** arguments);
static std::vector<Fiber> fibers; static std::vector<std::vector<char>> stacks; static std::vector<bool> finished;
static std::vector<uint64_t> exchange; static std::vector<char> dynamic_shared; static char* shared_start;
static Fiber scheduler; static unsigned current, alive; static uint64_t progress; static bool backwards;
static Barrier named[16]; static std::vector<Barrier> warp;        // named[0] is __syncthreads; warp: one per thread, the lowest lane's is used
static Kernel kernel; static void** arguments;

[[noreturn]] static void fail(const char* what) {
    fprintf(stderr, "emulation: %s, block (%u, %u, %u), thread %u\n", what, blockIdx.x, blockIdx.y, blockIdx.z, current); abort();
}
static void enter(unsigned t) {
    current = t; threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}
static void yield() { unsigned self = current; fibers[self].go_to(scheduler); enter(self); }
template <class Condition> static void wait_until(Condition ready) { while (!ready()) yield(); progress++; }
static void release(Barrier& b) { b.arrived = 0; b.generation++; }
static void arrive(Barrier& b, unsigned count) { if (++b.arrived >= count) release(b); }
static void barrier(Barrier& b, unsigned count) {                  // count threads meet here
    unsigned generation = b.generation; arrive(b, count);
    wait_until([&] { return b.generation != generation; });
}
static void leave() {
    finished[current] = true; alive--; progress++;                 // a thread that has left no longer counts for __syncthreads
    if (named[0].arrived && named[0].arrived >= alive) release(named[0]);
}
static void run() { enter(current); kernel(arguments); leave(); fibers[current].go_to(scheduler); }
static void warp_barrier(unsigned mask) {
    unsigned first = current / 32 * 32, count = 0;
    if (!(mask >> (current % 32) & 1)) fail("a thread outside the mask");
    for (unsigned lane = 0; lane < 32 && first + lane < finished.size(); lane++)
        if (mask >> lane & 1) { if (finished[first + lane]) fail("the mask names a lane that has left"); count++; }
    barrier(warp[first + __builtin_ctz(mask)], count);
}
template <class T> static T from_lane(unsigned mask, T value, unsigned lane) {
    static_assert(sizeof(T) <= 8, "at most 8 bytes"); unsigned source = current / 32 * 32 + lane;
    if (!(mask >> lane & 1) || source >= finished.size()) fail("a shuffle from a lane outside the mask");
    memcpy(&exchange[current], &value, sizeof(T)); warp_barrier(mask);
    T other; memcpy(&other, &exchange[source], sizeof(T)); warp_barrier(mask); return other;
}
// shows every lane of the warp a piece of each other's memory: look(of), of(lane) the piece
template <class T, class Look> static void show(const T& mine, Look look) {
    exchange[current] = reinterpret_cast<uintptr_t>(&mine); warp_barrier(~0u);
    look([](unsigned lane) -> const T& { return *reinterpret_cast<const T*>(exchange[current / 32 * 32 + lane]); }); warp_barrier(~0u);
}
// copies into shared memory land when they are waited for and not before; until then NaN stands there
struct Copy { void* to; const void* from; size_t bytes; };
static std::vector<std::vector<std::vector<Copy>>> copies;         // of each thread, in groups; the last one is open
static void copy_later(void* to, const void* from, size_t bytes, bool there) {
    if (reinterpret_cast<uintptr_t>(to) % bytes || (there && reinterpret_cast<uintptr_t>(from) % bytes)) fail("a copy from or to a place that its size does not divide");
    memset(to, 0xff, bytes); copies[current].back().push_back({to, there ? from : nullptr, bytes});
}
static void copy_commit() { copies[current].emplace_back(); }
static void copy_wait(unsigned pending) {
    auto& groups = copies[current];
    for (; groups.size() > pending + 1; groups.erase(groups.begin()))
        for (auto& copy : groups.front()) if (copy.from) memcpy(copy.to, copy.from, copy.bytes); else memset(copy.to, 0, copy.bytes);
}
// A barrier in shared memory at which arrivals and bytes of copies are counted. What is copied in a phase lands when the phase is waited for and not before.
struct Landing { unsigned arrivals, pending, phase = 0; size_t expected = 0, copied = 0; std::vector<Copy> copies = {}; };
static std::map<const void*, Landing> landings;
static Landing& landing(const void* at) {
    auto found = landings.find(at);
    if (found == landings.end()) fail("a barrier in shared memory that was not opened");
    return found->second;
}
static void open_landing(const void* at, unsigned arrivals) { landings[at] = {arrivals, arrivals}; }
static void expect(const void* at, size_t bytes) {
    auto& own = landing(at);
    if (!own.pending) fail("more arrivals than a barrier takes");
    own.pending--; own.expected += bytes;
}
static void copy_for(const void* at, void* to, const void* from, size_t bytes, bool there) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || (there && reinterpret_cast<uintptr_t>(from) % 16) || bytes % 16) fail("a copy from or to a place that 16 bytes do not divide");
    memset(to, 0xff, bytes); auto& own = landing(at); own.copied += bytes; own.copies.push_back({to, there ? from : nullptr, bytes});
}
static void wait_for_landing(const void* at, unsigned parity) {
    wait_until([&] {
        auto& own = landing(at);
        if (own.phase % 2 == parity && !own.pending && own.copied == own.expected) {
            for (auto& copy : own.copies) if (copy.from) memcpy(copy.to, copy.from, copy.bytes); else memset(copy.to, 0, copy.bytes);
            unsigned phase = own.phase + 1; own = {own.arrivals, own.arrivals}; own.phase = phase;
        }
        return own.phase % 2 != parity;
    });
}
static void launch(Kernel k, void** args, Dim3 grid, Dim3 block, size_t shared_bytes = 0) {
    unsigned threads = block.x * block.y * block.z; kernel = k; arguments = args; gridDim = grid; blockDim = block;
    fibers.resize(threads); stacks.resize(threads); exchange.resize(threads); dynamic_shared.resize(shared_bytes + 2 * guard + 16);
    shared_start = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(dynamic_shared.data()) + guard + 15) / 16 * 16);
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++) for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++) for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
        finished.assign(threads, false); warp.assign(threads, {}); for (auto& b : named) b = {}; alive = threads; copies.assign(threads, std::vector<std::vector<Copy>>(1)); landings.clear();
        memset(dynamic_shared.data(), 0xff, dynamic_shared.size());    // all bits set is NaN in float and bfloat16
        for (unsigned t = 0; t < threads; t++) {
            stacks[t].resize(1 << 16); fibers[t].prepare(stacks[t], run);
        }
        while (alive) {
            uint64_t before = progress;
            for (unsigned i = 0; i < threads; i++) {
                unsigned t = backwards ? threads - 1 - i : i;
                if (!finished[t]) { current = t; scheduler.go_to(fibers[t]); }
            }
            if (alive && progress == before) fail("every thread waits for another");
        }
        for (char* at = dynamic_shared.data(); at < dynamic_shared.data() + dynamic_shared.size(); at++)
            if ((at < shared_start || at >= shared_start + shared_bytes) && *at != char(0xff)) fail("a write past the shared memory");
    }
}
}
static void __syncthreads() { emulation::barrier(emulation::named[0], emulation::alive); }
static void __syncwarp(unsigned mask = ~0u) { emulation::warp_barrier(mask); }
template <class T> T __shfl_sync(unsigned mask, T value, int lane) { return emulation::from_lane(mask, value, lane & 31); }
template <class T> T __shfl_xor_sync(unsigned mask, T value, int offset) { return emulation::from_lane(mask, value, (emulation::current % 32) ^ offset); }
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by) { unsigned lane = emulation::current % 32; return emulation::from_lane(mask, value, lane < by ? lane : lane - by); }
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by) { unsigned lane = emulation::current % 32; return emulation::from_lane(mask, value, lane + by > 31 ? lane : lane + by); }

extern "C" __attribute__((visibility("default"))) void emulation_launch(emulation::Kernel kernel, void** arguments, unsigned x, unsigned y, unsigned z, unsigned threads, size_t shared_bytes, int backwards) {
    emulation::backwards = backwards != 0;
    emulation::launch(kernel, arguments, Dim3{x, y, z}, Dim3{threads, 1, 1}, shared_bytes);
}
