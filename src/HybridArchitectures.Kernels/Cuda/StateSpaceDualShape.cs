namespace HybridArchitectures.Kernels.Cuda;

/// <summary>How <c>StateSpaceDual.cu</c> is cut for one shape: what it is compiled with, and what follows from that.</summary>
/// <param name="HeadSize">Channels of a head.</param>
/// <param name="States">States of a channel.</param>
/// <param name="SplitFloat32">Float32 as three bfloat16 planes; else bfloat16.</param>
/// <param name="Documents">Whether documents begin within rows.</param>
/// <param name="Grouped">Whether four warps multiply together, as compute capability 9.0 alone can.</param>
/// <param name="Chunk">Tokens of a chunk.</param>
/// <param name="Heads">Heads of a walk's block.</param>
/// <param name="Stages">Copies of what a walk loads.</param>
/// <param name="Unit">Channels that the pairs kernel takes at a time.</param>
/// <param name="PairStages">Copies of what the pairs kernel loads.</param>
sealed record StateSpaceDualShape(long HeadSize, long States, bool SplitFloat32, bool Documents, bool Grouped, int Chunk, int Heads, int Stages, int Unit, int PairStages)
{
    const int GroupTile = 64 * 64 * sizeof(ushort);

    // longer chunks move fewer states through memory; two stages load ahead
    static readonly (int Chunk, int Stages, int Unit, int PairStages)[] Cuts =
        [.. from chunk in new[] { 64, 32, 16 } from stages in new[] { 2, 1 } from unit in new[] { 64, 32, 16 } select (chunk, stages, unit, stages)];

    int Planes => SplitFloat32 ? 3 : 1;

    int PaddedStates => (int)(States + 15) / 16 * 16;

    // blocks of 16 channels of a warp
    int Tiles => !Grouped && PaddedStates <= 128 ? 2 : 1;

    int HeadWarps => HeadSize > 128 - 16 * Tiles ? 8 / Tiles : (int)((HeadSize + 16 * Tiles - 1) / (16 * Tiles));

    int Channels => Heads * HeadWarps * 16 * Tiles;

    int Groups => Heads * HeadWarps / 4;

    int Parts => (int)States / 64;

    int NumbersSize => Chunk * sizeof(float) * (Stages * (Heads * (SplitFloat32 ? 3 : 2) + 1) + 2 * Heads);

    // of a walk's stages with the data that belongs to them; without output it has no queries and two stages more
    int GroupStages(int stages, int tiles) =>
        stages * (tiles * GroupTile + Chunk * sizeof(float) * (4 * Heads + 1) + (1 + Groups) * sizeof(long)) + Chunk * sizeof(float) * 8 * Heads
            + Groups * 64 * ((int)States + 8) * sizeof(ushort) + 1024;

    /// <summary>A walk's blocks on a multiprocessor.</summary>
    public int Blocks => Grouped || PaddedStates > 128 ? 1 : 2;

    /// <summary>Blocks that share a head's channels.</summary>
    public long Slices => (HeadSize + HeadWarps * 16 * Tiles - 1) / (HeadWarps * 16 * Tiles);

    public int WalkThreads => 32 * Heads * HeadWarps + (Grouped ? 128 : 0);

    public int PairThreads => 32 * PairWarps;

    public int StatesShared => Grouped ? GroupStages(Stages + 2, Groups + Parts) : Stages * (Tile(Chunk, Channels) + Tile(Chunk, PaddedStates)) + NumbersSize;

    public int WalkShared => Grouped ? GroupStages(Stages, Groups + 2 * Parts) + 2 * Heads * GroupTile : StatesShared + Tile(Chunk, PaddedStates) + Heads * Tile(Chunk, Chunk);

    public int PairShared => Grouped
        ? (2 * Parts + PairStages * (2 + 2 * Parts)) * GroupTile + sizeof(float) * (PairStages * 2 * Chunk + 2 * (3 * Parts * Chunk + 6 * Chunk + 8 * Parts + 4) + Chunk)
            + (PairStages + 1) * sizeof(long) + 1024
        : 2 * Tile(Chunk, PaddedStates) + Math.Max(PairStages * (2 * Tile(Chunk, Unit) + 2 * Tile(Unit, PaddedStates)), Tile(Chunk, Chunk))
            + sizeof(float) * (PairStages * (SplitFloat32 ? 3 : 2) * Chunk + Chunk) + SumSize * ((3 * PairWarps * 16 / Chunk * Chunk + Chunk * Chunk / 16 + Chunk + 2 * PairWarps + 3) / 4 * 4);

    int SumSize => SplitFloat32 ? sizeof(double) : sizeof(float);

    int PairWarps => Grouped ? 4 * Parts : 8;

    /// <summary>The source with its definitions, for the forward kernels or for the rest: who needs no gradients compiles half.</summary>
    public string Source(bool forward) =>
        $"StateSpaceDual.cu SSD_P={HeadSize} SSD_N={States} SSD_CHUNK={Chunk} SSD_HEADS={Heads} SSD_STAGES={Stages} SSD_UNIT={Unit} SSD_PAIR_STAGES={PairStages} SSD_TILES={Tiles} "
        + $"SSD_SPAN={(PaddedStates <= 128 ? 64 : 32)} SSD_BLOCKS={Blocks} SSD_PAIR_WARPS={PairWarps} SSD_GROUPS={(Grouped ? Groups : 0)} SSD_FLOAT32={(SplitFloat32 ? 1 : 0)} "
        + $"SSD_DOCUMENTS={(Documents ? 1 : 0)} SSD_PART={(forward ? 1 : 2)}";

    /// <summary>More states are taken in several passes: 256 fit registers, and shared memory save for float32 on the smaller GPUs.</summary>
    public static long MaxStates(bool splitFloat32, int sharedMemory) => splitFloat32 && sharedMemory < 128 * 1024 ? 128 : 256;

    public static int StepShared(int chunk) => 3 * sizeof(float) * 32 * (chunk + 1);

    public int StepBackShared => StepShared(Chunk) + SumSize * 32 * (Chunk + 1);

    /// <summary>The first cut that fits a GPU.</summary>
    public static StateSpaceDualShape For(long headSize, long states, bool splitFloat32, long headsPerGroup, bool documents, int capability, int sharedMemory)
    {
        if (capability == 90 && !splitFloat32 && headSize % 64 == 0 && states is 64 or 128)
        {
            var grouped = new StateSpaceDualShape(headSize, states, false, documents, true, 64, headSize == 64 ? (int)Math.Min(headsPerGroup, 2) : 1, 3, 64, 3);
            if (grouped.Fits(sharedMemory)) return grouped;
        }
        foreach (var (chunk, stages, unit, pairStages) in Cuts)
        {
            // the planes of float32 leave no room to load ahead
            if (splitFloat32 && (chunk > 32 || stages > 1)) continue;
            var shape = new StateSpaceDualShape(headSize, states, splitFloat32, documents, false, chunk, 1, stages, (int)Math.Min(unit, (headSize + 15) / 16 * 16), pairStages);
            shape = shape with { Heads = (int)Math.Min(headsPerGroup, Math.Max(1, 8 / shape.Tiles / shape.HeadWarps)) };
            if (shape.Fits(sharedMemory)) return shape;
        }
        throw new ArgumentException($"{states} states of {headSize} channels do not fit {sharedMemory} bytes of shared memory", nameof(states));
    }

    bool Fits(int sharedMemory) => Math.Max(Math.Max(WalkShared, StatesShared), PairShared) <= sharedMemory;

    // bytes of rows with 16 bytes after each, in every plane
    int Tile(int rows, int columns) => Planes * rows * (columns + 8) * sizeof(ushort);
}
