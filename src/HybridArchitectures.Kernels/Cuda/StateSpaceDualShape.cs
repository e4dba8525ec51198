using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>How <c>StateSpaceDual.cu</c> is cut for one shape: what it is compiled with, and what follows from that.</summary>
/// <param name="HeadSize">Channels of a head.</param>
/// <param name="States">States of a channel.</param>
/// <param name="Single">Float32 as three bfloat16 planes; else bfloat16.</param>
/// <param name="Documents">Whether documents begin within rows.</param>
/// <param name="Chunk">Tokens of a chunk.</param>
/// <param name="Heads">Heads of a walk's block.</param>
/// <param name="Stages">Copies of what a walk loads.</param>
/// <param name="Unit">Channels that the pairs kernel takes at a time.</param>
/// <param name="PairStages">Copies of what the pairs kernel loads.</param>
sealed record StateSpaceDualShape(long HeadSize, long States, bool Single, bool Documents, int Chunk, int Heads, int Stages, int Unit, int PairStages)
{
    public const int PairThreads = 256;

    // longer chunks move fewer states through memory; two stages load ahead
    static readonly (int Chunk, int Stages, int Unit, int PairStages)[] Cuts =
        [.. from chunk in new[] { 64, 32, 16 } from stages in new[] { 2, 1 } from unit in new[] { 64, 32, 16 } select (chunk, stages, unit, stages)];

    int Planes => Single ? 3 : 1;

    int PaddedStates => (int)(States + 15) / 16 * 16;

    // channels of a warp
    int Rows => PaddedStates <= 128 ? 32 : 16;

    int HeadWarps => HeadSize > 128 - Rows ? 128 / Rows : (int)((HeadSize + Rows - 1) / Rows);

    int NumbersSize => Stages * Chunk * sizeof(float) * (Heads * (Single ? 3 : 2) + 1);

    /// <summary>Blocks that share a head's channels.</summary>
    public long Slices => (HeadSize + HeadWarps * Rows - 1) / (HeadWarps * Rows);

    public int WalkThreads => 32 * Heads * HeadWarps;

    public int StatesShared => Stages * (Tile(Chunk, Heads * HeadWarps * Rows) + Tile(Chunk, PaddedStates)) + NumbersSize;

    public int WalkShared => StatesShared + Tile(Chunk, PaddedStates) + Heads * Tile(Chunk, Chunk);

    public int PairShared => 2 * Tile(Chunk, PaddedStates) + Math.Max(PairStages * (2 * Tile(Chunk, Unit) + 2 * Tile(Unit, PaddedStates)), Tile(Chunk, Chunk))
        + sizeof(float) * (PairStages * 3 * Chunk + 34 * Chunk + 16);

    /// <summary>More states are taken in several passes: 256 fit registers, and shared memory save for float32 on the smaller cards.</summary>
    public static long MostStates(bool single, int sharedMemory) => single && sharedMemory < 128 * 1024 ? 128 : 256;

    public static int StepShared(int chunk, int arrays) => sizeof(float) * arrays * 32 * (chunk + 1);

    /// <summary>The source with its definitions.</summary>
    public string Source =>
        $"StateSpaceDual.cu SSD_P={HeadSize} SSD_N={States} SSD_CHUNK={Chunk} SSD_HEADS={Heads} SSD_STAGES={Stages} SSD_UNIT={Unit} SSD_PAIR_STAGES={PairStages} "
        + $"SSD_FLOAT32={(Single ? 1 : 0)} SSD_DOCUMENTS={(Documents ? 1 : 0)}";

    /// <summary>The first cut that fits a card's shared memory.</summary>
    public static StateSpaceDualShape For(long headSize, long states, bool single, long headsPerGroup, bool documents, int sharedMemory)
    {
        foreach (var (chunk, stages, unit, pairStages) in Cuts)
        {
            // the planes of float32 leave no room to load ahead
            if (single && (chunk > 32 || stages > 1)) continue;
            var shape = new StateSpaceDualShape(headSize, states, single, documents, chunk, 1, stages, (int)Math.Min(unit, (headSize + 15) / 16 * 16), pairStages);
            shape = shape with { Heads = (int)Math.Min(headsPerGroup, Math.Max(1, 128 / shape.Rows / shape.HeadWarps)) };
            if (Math.Max(shape.WalkShared, shape.PairShared) <= sharedMemory) return shape;
        }
        throw new ArgumentException($"{states} states of {headSize} channels do not fit {sharedMemory} bytes of shared memory", nameof(states));
    }

    // bytes of rows with 16 bytes after each, in every plane
    int Tile(int rows, int columns) => Planes * rows * (columns + 8) * sizeof(ushort);
}
