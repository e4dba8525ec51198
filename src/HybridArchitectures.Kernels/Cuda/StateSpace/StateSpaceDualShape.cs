using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Describes how <c>StateSpaceDual.cu</c> is compiled for one shape.</summary>
/// <param name="HeadSize">The channels of a head.</param>
/// <param name="States">The states of a channel.</param>
/// <param name="SplitFloat32">Whether float32 is split in three bfloat16 planes; otherwise it is bfloat16.</param>
/// <param name="Documents">Whether documents begin within rows.</param>
/// <param name="Grouped">Whether four warps multiply together, which needs compute capability 9.0.</param>
/// <param name="Chunk">The tokens of a chunk.</param>
/// <param name="Heads">The heads of a block of a scan.</param>
/// <param name="Stages">The number of buffers for the data that a scan loads.</param>
/// <param name="Unit">The channels that the pairs kernel processes at a time.</param>
/// <param name="PairStages">The number of buffers for the data that the pairs kernel loads.</param>
sealed record StateSpaceDualShape(
    long HeadSize, long States, bool SplitFloat32, bool Documents, bool Grouped, int Chunk, int Heads, int Stages, int Unit, int PairStages)
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

    // of a scan's stages with the data that belongs to them; without output it has no queries and two stages more
    int GroupStages(int stages, int tiles) =>
        stages * (tiles * GroupTile + Chunk * sizeof(float) * (4 * Heads + 1) + (1 + Groups) * sizeof(long)) + Chunk * sizeof(float) * 8 * Heads
            + Groups * 64 * ((int)States + 8) * sizeof(ushort) + 1024;

    /// <summary>Gets the number of blocks of a scan on a multiprocessor.</summary>
    public int Blocks => Grouped || PaddedStates > 128 ? 1 : 2;

    /// <summary>Gets the number of blocks that share the channels of a head.</summary>
    public long Slices => (HeadSize + HeadWarps * 16 * Tiles - 1) / (HeadWarps * 16 * Tiles);

    public int ScanThreads => 32 * Heads * HeadWarps + (Grouped ? 128 : 0);

    public int PairThreads => 32 * PairWarps;

    public int StatesShared => Grouped ? GroupStages(Stages + 2, Groups + Parts)
        : Stages * (Tile(Chunk, Channels) + Tile(Chunk, PaddedStates)) + NumbersSize;

    public int ScanShared => Grouped ? GroupStages(Stages, Groups + 2 * Parts) + 2 * Heads * GroupTile
        : StatesShared + Tile(Chunk, PaddedStates) + Heads * Tile(Chunk, Chunk);

    public int PairShared => Grouped
        ? (2 * Parts + PairStages * (2 + 2 * Parts)) * GroupTile
        + sizeof(float) * (PairStages * 2 * Chunk + 2 * (3 * Parts * Chunk + 6 * Chunk + 8 * Parts + 4) + Chunk)
            + (PairStages + 1) * sizeof(long) + 1024
        : 2 * Tile(Chunk, PaddedStates) + Math.Max(PairStages * (2 * Tile(Chunk, Unit) + 2 * Tile(Unit, PaddedStates)), Tile(Chunk, Chunk))
            + sizeof(float) * (PairStages * (SplitFloat32 ? 3 : 2) * Chunk + Chunk)
            + SumSize * ((3 * PairWarps * 16 / Chunk * Chunk + Chunk * Chunk / 16 + Chunk + 2 * PairWarps + 3) / 4 * 4);

    int SumSize => SplitFloat32 ? sizeof(double) : sizeof(float);

    int PairWarps => Grouped ? 4 * Parts : 8;

    /// <summary>
    /// Returns the options of the forward kernels, or of the others. A program without gradients compiles only half.
    /// </summary>
    public KernelVariant Variant(bool forward) => new Options(this, forward);

    sealed record Options(StateSpaceDualShape Shape, bool Forward) : KernelVariant
    {
        public override string File => "StateSpaceDual.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("SSD_P", Shape.HeadSize), ("SSD_N", Shape.States), ("SSD_CHUNK", Shape.Chunk), ("SSD_HEADS", Shape.Heads),
            ("SSD_STAGES", Shape.Stages), ("SSD_UNIT", Shape.Unit), ("SSD_PAIR_STAGES", Shape.PairStages), ("SSD_TILES", Shape.Tiles),
            ("SSD_SPAN", Shape.PaddedStates <= 128 ? 64 : 32), ("SSD_BLOCKS", Shape.Blocks), ("SSD_PAIR_WARPS", Shape.PairWarps),
            ("SSD_GROUPS", Shape.Grouped ? Shape.Groups : 0), ("SSD_FLOAT32", Flag(Shape.SplitFloat32)),
            ("SSD_DOCUMENTS", Flag(Shape.Documents)), ("SSD_PART", Forward ? 1 : 2),
        ];
    }

    /// <summary>
    /// Returns the maximum number of states of a pass. More states are processed in several passes: 256 fit in registers, and in shared memory except
    /// for float32 on smaller GPUs.
    /// </summary>
    public static long MaxStates(bool splitFloat32, int sharedMemory) => splitFloat32 && sharedMemory < 128 * 1024 ? 128 : 256;

    public static int StepShared(int chunk) => 3 * sizeof(float) * 32 * (chunk + 1);

    public int StepBackShared => StepShared(Chunk) + SumSize * 32 * (Chunk + 1);

    /// <summary>Returns the first configuration that fits a GPU.</summary>
    public static StateSpaceDualShape For(
        long headSize, long states, bool splitFloat32, long headsPerGroup, bool documents, int capability, int sharedMemory)
    {
        if (capability == 90 && !splitFloat32 && headSize % 64 == 0 && states is 64 or 128)
        {
            var grouped = new StateSpaceDualShape(
                headSize, states, false, documents, true, 64, headSize == 64 ? (int)Math.Min(headsPerGroup, 2) : 1, 3, 64, 3);
            if (grouped.Fits(sharedMemory)) return grouped;
        }
        foreach (var (chunk, stages, unit, pairStages) in Cuts)
        {
            // the planes of float32 leave no room to load ahead
            if (splitFloat32 && (chunk > 32 || stages > 1)) continue;
            var shape = new StateSpaceDualShape(
                headSize, states, splitFloat32, documents, false, chunk, 1, stages, (int)Math.Min(unit, (headSize + 15) / 16 * 16), pairStages);
            shape = shape with { Heads = (int)Math.Min(headsPerGroup, Math.Max(1, 8 / shape.Tiles / shape.HeadWarps)) };
            if (shape.Fits(sharedMemory)) return shape;
        }
        throw Require.Unfit(nameof(states), $"states is {states} of {headSize} channels",
            $"a number that fits {sharedMemory} bytes of shared memory");
    }

    bool Fits(int sharedMemory) => Math.Max(Math.Max(ScanShared, StatesShared), PairShared) <= sharedMemory;

    // bytes of rows with 16 bytes after each, in every plane
    int Tile(int rows, int columns) => Planes * rows * (columns + 8) * sizeof(ushort);
}
