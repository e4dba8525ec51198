// Sorts the visits of tokens to experts by expert, and those of one expert by position: a counting sort in two launches. A warp has a chunk of
// visits. `count_visits` counts those of each expert, `order_visits` adds the counts of the chunks before and gives each visit its place. Nothing is
// atomic, so equal inputs have equal results.
//
// Each launch reads 8 bytes per visit; the second one writes 24, and each of its warps reads 4 bytes per chunk and expert.
#include "common.cuh"

struct ExpertOrderArguments {
    const i64* chosen;                               // (visits): the expert of each visit
    int* counts;                                     // (chunks, experts): the visits of each expert in each chunk
    i64 *order, *inverse, *source;                   // (visits) each: the visit at each place, the place of each visit, the token at each place
    int *ends, *loads;                               // (experts) each: where the visits of each expert end, and how many they are
    i64 visits, experts, choices, chunk;             // a chunk has a multiple of 32 visits
};

struct ExpertOrder {
    const ExpertOrderArguments& args;
    int *counters, *totals, *group, *parts;          // (experts) twice, then one number per lane twice
    int lane, experts;

    __device__ __forceinline__ ExpertOrder(const ExpertOrderArguments& args, int* shared) : args(args) {
        lane = static_cast<int>(threadIdx.x);
        experts = static_cast<int>(args.experts);
        counters = shared;
        totals = counters + experts;
        group = totals + experts;
        parts = group + 32;
    }

    // Calls visit(at, number) for the visits of the chunk in order, where the number is the counter of the expert, which each visit raises by 1.
    template <class Visit> __device__ __forceinline__ void each_visit(Visit visit) const {
        const i64 first = blockIdx.x * args.chunk, rest = args.visits - first, last = first + (rest < args.chunk ? rest : args.chunk);
        for (i64 start = first; start < last; start += 32) {
            const i64 at = start + lane;
            const int expert = at < last ? static_cast<int>(args.chosen[at]) : -1;
            group[lane] = expert;
            sync_warp();
            int before = 0, all = 0;
            for (int i = 0; i < 32; i++) {
                const int same = group[i] == expert;
                all += same;
                before += i < lane ? same : 0;
            }
            if (expert >= 0) visit(at, counters[expert] + before);
            sync_warp();
            if (expert >= 0 && before == 0) counters[expert] += all;
            sync_warp();
        }
    }

    __device__ __forceinline__ void count() const {
        for (int expert = lane; expert < experts; expert += 32) counters[expert] = 0;
        sync_warp();
        each_visit([](i64, int) {});
        for (int expert = lane; expert < experts; expert += 32) args.counts[blockIdx.x * args.experts + expert] = counters[expert];
    }

    // The counters: the place of the first visit of the chunk to each expert.
    __device__ __forceinline__ void start_counters() const {
        for (int expert = lane; expert < experts; expert += 32) {
            int total = 0, before = 0;
            for (int chunk = 0; chunk < static_cast<int>(gridDim.x); chunk++) {
                const int count = args.counts[chunk * args.experts + expert];
                total += count;
                before += chunk < static_cast<int>(blockIdx.x) ? count : 0;
            }
            totals[expert] = total;
            counters[expert] = before;
        }
        sync_warp();
        // each lane adds up a part of the experts
        const int part = (experts + 31) / 32, first = lane * part, last = first + part < experts ? first + part : experts;
        int sum = 0;
        for (int expert = first; expert < last; expert++) sum += totals[expert];
        parts[lane] = sum;
        sync_warp();
        sum = 0;
        for (int i = 0; i < lane; i++) sum += parts[i];
        for (int expert = first; expert < last; expert++) {
            counters[expert] += sum;
            sum += totals[expert];
            if (blockIdx.x == 0) {
                args.ends[expert] = sum;
                args.loads[expert] = totals[expert];
            }
        }
        sync_warp();
    }

    __device__ __forceinline__ void place() const {
        start_counters();
        each_visit([this](i64 at, int place) {
            args.order[place] = at;
            args.inverse[at] = place;
            args.source[place] = at / args.choices;
        });
    }
};

__device__ __forceinline__ void count_visits_(const ExpertOrderArguments& args) {
    DYNAMIC_SHARED(int, shared);
    ExpertOrder(args, shared).count();
}

__device__ __forceinline__ void order_visits_(const ExpertOrderArguments& args) {
    DYNAMIC_SHARED(int, shared);
    ExpertOrder(args, shared).place();
}

KERNEL(count_visits, 32, ExpertOrderArguments, count_visits_)
KERNEL(order_visits, 32, ExpertOrderArguments, order_visits_)
