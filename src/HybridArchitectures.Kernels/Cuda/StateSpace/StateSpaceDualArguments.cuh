// The sizes with which the kernels of the state-space dual are compiled, and their arguments.
#pragma once
#include "tensor_cores.cuh"

// The host compiles the kernels once for each shape that is used.
#ifndef SSD_P
#define SSD_P 64                // channels of a head
#define SSD_N 128               // states
#define SSD_CHUNK 64            // tokens of a chunk, a multiple of 16
#define SSD_HEADS 2  // heads of a block of a scan
#define SSD_STAGES 2  // buffers for the data that a scan loads; with 2, it loads ahead
#define SSD_UNIT 64  // channels that the pairs kernel processes at a time
#define SSD_PAIR_STAGES 2
#define SSD_TILES 2  // times 16 channels of a warp of a scan
#define SSD_SPAN 64             // tokens of output at a time
#define SSD_BLOCKS 2  // blocks of a scan per multiprocessor
#define SSD_PAIR_WARPS 8
#define SSD_GROUPS 0  // groups of four warps that multiply together in a block of a scan, on compute capability 9.0a; 0 for single warps
#define SSD_FLOAT32 0           // or bfloat16
#define SSD_DOCUMENTS 0         // whether documents begin within rows
#define SSD_PART 0              // 1 for the forward kernels, 2 for the rest, 0 for all
#endif

constexpr int P = SSD_P, N = SSD_N, Q = SSD_CHUNK, Heads = SSD_HEADS, Stages = SSD_STAGES, Unit = SSD_UNIT, PairStages = SSD_PAIR_STAGES;
constexpr bool Documents = SSD_DOCUMENTS;
#if SSD_FLOAT32
using Element = float;
using Sum = double;  // the type of sums over a chunk and of their gradients
constexpr int Planes = 3, Vector = 4;
#else
using Element = bfloat16;
using Sum = float;
constexpr int Planes = 1, Vector = 8;
#endif

constexpr int NPad = (N + 15) / 16 * 16, KSteps = NPad / 16, Blocks = Q / 16;      // Blocks of 16 tokens
constexpr int MTiles = SSD_TILES, Rows = SSD_GROUPS ? 16 : 16 * MTiles;          // channels of a warp
// channels of a head in one block
constexpr int HeadWarps = P > 128 - Rows ? 128 / Rows : (P + Rows - 1) / Rows, Slice = HeadWarps * Rows, Slices = (P + Slice - 1) / Slice;
constexpr int Warps = Heads * HeadWarps, Threads = 32 * Warps, Channels = Warps * Rows;
constexpr int ScanThreads = Threads + (SSD_GROUPS ? 128 : 0);  // including the warps that prepare chunks
constexpr int PairWarps = SSD_PAIR_WARPS, PairThreads = 32 * PairWarps, RowWarps = Blocks, ColumnWarps = PairWarps / RowWarps,
Units = (P + Unit - 1) / Unit;
constexpr float MinLogarithm = -128;  // 2^-128 is treated as 0

static_assert(sizeof(int) == sizeof(float) && Q % 16 == 0 && Q <= 64 && PairWarps % Blocks == 0 && Unit % 16 == 0, "supported sizes");

struct DualArguments {
    TensorMap xMap, bMap, cMap, outputMap, gradientMap, statesMap, stateGradientsMap;  // for the copies of groups of four warps
    Typed rawDt;
    const void *x, *B, *C, *gradient;  // (batch, length, heads, P), (batch, length, groups, N) twice, like x
    const float *A, *D, *dtBias, *incoming, *finalGradient;
    const bool* starts;                               // (batch, length), or null
    const i64* lengths;                               // (batch), or null
    // (batch, heads, chunks Q): the time steps, the sums of dt A log2(e), and what rounding removed from the sums
    float *dt, *decaySums, *decaySumsLow;
    // (batch, chunks Q): where in the chunk the document of a token begins, -1 for before the chunk; or null
    int* documentBegins;
    void *output, *states, *stateGradients;  // like x; (batch, chunks, heads, P, N) in the type of x twice, or null
    float* outgoing;                                  // (batch, heads, P, N), or (batch, segments, heads, P, N)
    Sum* suffixTrace;  // (batch, heads, chunks Q): from here to innerTrace, the gradients that lead to the time steps
    float *prefixTrace, *directTrace, *innerTrace, *dD;  // like suffixTrace twice, (batch, chunks, heads) twice
    void *dB, *dC;  // (splits, batch, length, groups, N) float32, or without splits in the type of x
    TypedOutput dDt;                            // (batch, length, heads)
    float *dA, *dDtBias;                                // (batch, chunks, heads)
    i64 batch, length, heads, groups, chunks, segments, chunksPerSegment, splits, firstRow;
    i64 xRow, xToken, bRow, bToken, cRow, cToken, gradientRow, gradientToken, dtRow, dtToken;
    i64 outputRow, outputToken, productRow, productToken, dDtRow, dDtToken;  // product: of dB and dC, where a split is as many rows as the batch
    i64 wide, softplus, outgoingSegments;
    float minDt, maxDt;
};
