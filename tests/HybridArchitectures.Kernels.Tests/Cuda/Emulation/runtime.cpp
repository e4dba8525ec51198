// The fibers that run a kernel's threads on a CPU; emulation.hpp says how. Compiled once, into the driver's library.
#include "emulation.hpp"
#include <cstdio>
#include <cstdlib>
#include <map>
#include <ucontext.h>
#include <vector>

Dim3 threadIdx, blockIdx, blockDim, gridDim;

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

static const size_t guard = 4096;      // bytes around shared memory
static const size_t stack_bytes = 1 << 16, stack_spare = 1 << 14;      // of a fiber; signal handlers of the runtime need the spare bytes
using Kernel = void (*)(void** arguments);
char* shared_start; uint64_t* exchange; unsigned current, alive, threads; Barrier named[16];
static std::vector<Fiber> fibers; static std::vector<std::vector<char>> stacks; static std::vector<char> finished;
static std::vector<unsigned> present, left;                        // lanes of each warp: those that a launch starts, and those that have left
static std::vector<uint64_t> exchanged; static std::vector<char> dynamic_shared;
static Fiber scheduler; static uint64_t progress; static bool backwards;
static std::vector<Barrier> warp;                                  // one per thread, the lowest lane's is used
static Kernel kernel; static void** arguments;

[[noreturn]] void fail(const char* what) {
    fprintf(stderr, "emulation: %s, block (%u, %u, %u), thread %u\n", what, blockIdx.x, blockIdx.y, blockIdx.z, current); abort();
}
static void enter(unsigned t) {
    current = t; threadIdx = {t, 0, 0};                             // blocks have one dimension
}
static void yield() { unsigned self = current; fibers[self].go_to(scheduler); enter(self); }
template <class Condition> static void wait_until(Condition ready) { while (!ready()) yield(); progress++; }
static void release(Barrier& b) { b.arrived = 0; b.generation++; }
void arrive(Barrier& b, unsigned count) { if (++b.arrived >= count) release(b); }
void barrier(Barrier& b, unsigned count) {                  // count threads meet here
    unsigned generation = b.generation; arrive(b, count);
    wait_until([&] { return b.generation != generation; });
}
static void leave() {
    finished[current] = true; left[current / 32] |= 1u << current % 32;
    alive--; progress++;                                            // a thread that has left no longer counts for __syncthreads
    if (named[0].arrived && named[0].arrived >= alive) release(named[0]);
}
static void run() { enter(current); kernel(arguments); leave(); fibers[current].go_to(scheduler); }
void warp_barrier(unsigned mask) {
    unsigned number = current / 32;
    if (!(mask >> (current % 32) & 1)) fail("a thread outside the mask");
    if (mask & left[number]) fail("the mask names a lane that has left");
    barrier(warp[number * 32 + __builtin_ctz(mask)], __builtin_popcount(mask & present[number]));
}
// copies into shared memory land when they are waited for and not before; until then NaN stands there
struct Copy { void* to; const void* from; size_t bytes; };
static std::vector<std::vector<std::vector<Copy>>> copies;         // of each thread, in groups; the last one is open
void copy_later(void* to, const void* from, size_t bytes, bool there) {
    if (reinterpret_cast<uintptr_t>(to) % bytes || (there && reinterpret_cast<uintptr_t>(from) % bytes)) fail("a copy from or to a place that its size does not divide");
    memset(to, 0xff, bytes); copies[current].back().push_back({to, there ? from : nullptr, bytes});
}
void copy_commit() { copies[current].emplace_back(); }
void copy_wait(unsigned pending) {
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
void open_landing(const void* at, unsigned arrivals) { landings[at] = {arrivals, arrivals}; }
void expect(const void* at, size_t bytes) {
    auto& own = landing(at);
    if (!own.pending) fail("more arrivals than a barrier takes");
    own.pending--; own.expected += bytes;
}
void copy_for(const void* at, void* to, const void* from, size_t bytes, bool there) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || (there && reinterpret_cast<uintptr_t>(from) % 16) || bytes % 16) fail("a copy from or to a place that 16 bytes do not divide");
    memset(to, 0xff, bytes); auto& own = landing(at); own.copied += bytes; own.copies.push_back({to, there ? from : nullptr, bytes});
}
void wait_for_landing(const void* at, unsigned parity) {
    wait_until([&] {
        auto& own = landing(at);
        if (own.phase % 2 == parity && !own.pending && own.copied == own.expected) {
            for (auto& copy : own.copies) if (copy.from) memcpy(copy.to, copy.from, copy.bytes); else memset(copy.to, 0, copy.bytes);
            unsigned phase = own.phase + 1; own = {own.arrivals, own.arrivals}; own.phase = phase;
        }
        return own.phase % 2 != parity;
    });
}
static void launch(Kernel k, void** args, Dim3 grid, unsigned block, size_t shared_bytes) {
    threads = block; kernel = k; arguments = args; gridDim = grid; blockDim = {block, 1, 1};
    fibers.resize(threads); stacks.resize(threads); exchanged.resize(threads); exchange = exchanged.data(); copies.resize(threads);
    dynamic_shared.resize(shared_bytes + 2 * guard + 16);
    present.assign((threads + 31) / 32, ~0u); if (threads % 32) present.back() = (1u << threads % 32) - 1;
    shared_start = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(dynamic_shared.data()) + guard + 15) / 16 * 16);
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++) for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++) for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
        finished.assign(threads, false); left.assign(present.size(), 0); warp.assign(threads, {}); alive = threads; landings.clear();
        for (auto& b : named) b = {};
        for (auto& groups : copies) { groups.resize(1); groups[0].clear(); }
        memset(dynamic_shared.data(), 0xff, dynamic_shared.size());    // all bits set is NaN in float and bfloat16
        for (unsigned t = 0; t < threads; t++) {
            stacks[t].resize(stack_bytes, char(0xff)); fibers[t].prepare(stacks[t], run);
        }
        while (alive) {
            uint64_t before = progress;
            for (unsigned i = 0; i < threads; i++) {
                unsigned t = backwards ? threads - 1 - i : i;
                if (!finished[t]) { current = t; scheduler.go_to(fibers[t]); }
            }
            if (alive && progress == before) fail("every thread waits for another");
        }
        auto untouched = [](const char* from, const char* to) { for (; from < to; from++) if (*from != char(0xff)) return false; return true; };
        const char* end = dynamic_shared.data() + dynamic_shared.size();
        if (!untouched(dynamic_shared.data(), shared_start) || !untouched(shared_start + shared_bytes, end)) fail("a write past the shared memory");
        for (current = 0; current < threads; current++)
            if (!untouched(stacks[current].data(), stacks[current].data() + stack_spare)) fail("a stack that is too small");
    }
}
}

extern "C" void emulation_launch(emulation::Kernel kernel, void** arguments, unsigned x, unsigned y, unsigned z, unsigned threads, size_t shared_bytes, int backwards) {
    emulation::backwards = backwards != 0;
    emulation::launch(kernel, arguments, Dim3{x, y, z}, threads, shared_bytes);
}
