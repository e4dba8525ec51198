using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>
/// Computes the selective scan on a GPU for up to 256 states, with the kernels in <c>SelectiveScan.cu</c>. It saves the inputs, and the states at the
/// start of every tile, for the gradient.
/// </summary>
static class SelectiveScanCuda
{
    public const long MaxStates = 256;

    const string Source = "SelectiveScan.cu", FewChannelsSource = "SelectiveScanFewChannels.cu";

    // except if more chunks than this can be processed at once and rows have more tiles than that; and, as in the kernel, the channels of a block
    const int MaxChunksForWholeRows = 16, MaxTilesOfShortRows = 160, FewChannelsOfBlock = 16;

    struct Arguments
    {
        public CudaTyped X, TimeStep, Gate, B, C, Gradient;
        public nint A, Skip, Bias, Initial, FinalGradient, Starts, Lengths;
        public CudaTyped Output, DX, DTimeStep, DGate;
        public nint Final, Saved, DA, DB, DC, DSkip, DBias, DInitial, ChunkStates, ChunkSteps;
        public long Length, Channels, Groups, States, BlocksPerGroup, Batch, Chunks, ChunkTiles, LeadTiles, Launch, XRow, XToken, StepRow, StepToken,
            GateRow, GateToken, GradientRow, GradientToken;
        public int Softplus, Wide;
    }

    /// <summary>Computes the scan. b and c are (B, L, G, N).</summary>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate, Tensor? timeStepBias,
        bool softplus, Tensor? initialState, SequenceLayout? layout)
    {
        Tensor?[] inputs = [x, timeStep, a, b, c, skip, gate, timeStepBias, initialState];
        var (starts, lengths) = (layout?.Starts, layout?.Lengths);
        var results = Autograd.Apply(inputs,
            context =>
            {
                var call = new Call(inputs, softplus, starts, lengths, null, null);
                var output = CudaMemory.New(x, x.dtype, x.size(0), x.size(1), x.size(2));
                var final = CudaMemory.New(x, ScalarType.Float32, x.size(0), x.size(2), a.size(1));
                var saved = context.NeedsGradient ? CudaMemory.New(x, ScalarType.Float32, x.size(0), call.Tiles, call.SavedOfTile) : null;
                call.Arguments.Output = CudaTyped.From(output);
                call.Arguments.Final = CudaMemory.Address(final);
                call.Arguments.Saved = CudaMemory.Address(saved);
                call.Run("forward");
                context.Save([.. inputs, starts, lengths, saved]);
                return [output, final];
            },
            context => Backward(context, softplus));
        return (results[0], results[1]);
    }

    static Tensor?[] Backward(BackwardContext context, bool softplus)
    {
        var inputs = context.Saved;
        var (x, timeStep, a, b, gate) = (inputs[0]!, inputs[1]!, inputs[2]!, inputs[3]!, inputs[6]);
        long batch = x.size(0), length = x.size(1), channels = x.size(2), groups = b.size(2), states = a.size(1);
        var gradient = context.Gradients[0] ?? zeros([batch, length, channels], x.dtype, x.device);
        var call = new Call(inputs, softplus, inputs[9], inputs[10], gradient, context.Gradients[1]?.contiguous());
        Tensor Typed(ScalarType type) => CudaMemory.New(x, type, batch, length, channels);
        Tensor NewFloat32(params long[] sizes) => CudaMemory.New(x, ScalarType.Float32, sizes);
        var (dX, dStep, dGate) = (Typed(x.dtype), Typed(timeStep.dtype), gate is null ? null : Typed(gate.dtype));
        long parts = batch * call.Arguments.Chunks;
        var (dA, dSkip, dBias) = (NewFloat32(parts, channels, states), NewFloat32(parts, channels), NewFloat32(parts, channels));
        long slices = call.Arguments.BlocksPerGroup;
        var (dB, dC) = (NewFloat32(slices, batch, length, groups, states), NewFloat32(slices, batch, length, groups, states));
        var dInitial = inputs[8] is null ? null : NewFloat32(batch, channels, states);
        ref var to = ref call.Arguments;
        (to.DX, to.DTimeStep, to.DGate) = (CudaTyped.From(dX), CudaTyped.From(dStep), CudaTyped.From(dGate));
        (to.DA, to.DB, to.DC) = (CudaMemory.Address(dA), CudaMemory.Address(dB), CudaMemory.Address(dC));
        (to.DSkip, to.DBias, to.DInitial) = (CudaMemory.Address(dSkip), CudaMemory.Address(dBias), CudaMemory.Address(dInitial));
        to.Saved = CudaMemory.Address(inputs[11]);
        call.Run("backward");
        GC.KeepAlive(inputs);
        var sums = PartialSumsCuda.Compute((dB, b), (dC, inputs[4]), (dA, a), (dSkip, inputs[5]), (dBias, inputs[7]));
        return [dX, dStep, sums[2], sums[0], sums[1], sums[3], dGate, sums[4], dInitial];
    }

    // shared by both directions
    sealed class Call
    {
        readonly Tensor x;
        readonly Tensor?[] kept;
        readonly Shape shape;
        readonly bool narrow, fewChannels;
        Tensor[]? chunks;

        public Arguments Arguments;

        public Call(IReadOnlyList<Tensor?> inputs, bool softplus, Tensor? starts, Tensor? lengths, Tensor? gradient, Tensor? finalGradient)
        {
            Tensor? Rows(Tensor? tensor) => tensor is null || tensor.size(2) == 1 || tensor.stride(2) == 1 ? tensor : tensor.contiguous();
            x = Rows(inputs[0])!;
            var (step, gate, b, c) = (Rows(inputs[1])!, Rows(inputs[6]), inputs[3]!.contiguous(), inputs[4]!.contiguous());
            gradient = Rows(gradient);
            Tensor?[] parameters = [inputs[2]!.contiguous(), CudaMemory.Float32(inputs[5]), CudaMemory.Float32(inputs[7]), inputs[8]?.contiguous()];
            kept = [step, gate, b, c, gradient, finalGradient, starts, lengths, .. parameters];
            long states = inputs[2]!.size(1), groups = b.size(2), perGroup = x.size(2) / groups;
            shape = Shape.For(states);
            Tiles = (x.size(1) + Shape.Tile - 1) / Shape.Tile;
            SavedOfTile = groups * ((perGroup + shape.Channels - 1) / shape.Channels) * 32 * shape.Held;
            var limits = OperatorOptions.Current.Thresholds;
            // depends only on the sizes and not on the GPU: sums over chunks are bit-equal everywhere
            long warps = x.size(0) * ((x.size(2) + shape.Channels - 1) / shape.Channels),
                atOnce = Math.Max(1, Math.Min(Tiles / limits.MinScanTilesPerChunk, limits.ScanWarps / warps));
            // all of one type and in whole pieces: the kernel of that type with its copies; otherwise the one for float32, element by element
            narrow = x.dtype == ScalarType.BFloat16;
            bool wide = Whole(perGroup, shape.Channels, x, step, gate, gradient) && Whole(states, shape.Padded, b, c);
            narrow &= wide;
            fewChannels = gradient is null && wide && shape.Padded == 16 && warps <= limits.MaxScanWarpsForWholeRows
                && (limits.ScanWarps / warps <= MaxChunksForWholeRows || Tiles <= MaxTilesOfShortRows) && x.size(1) < 1 << 30;
            var (chunkCount, chunkTiles, leadTiles) = Chunks(Tiles, atOnce, gradient is not null ? 280 : narrow ? 850 : 0);
            Arguments = new()
            {
                X = CudaTyped.From(x), TimeStep = CudaTyped.From(step), Gate = CudaTyped.From(gate), B = CudaTyped.From(b), C = CudaTyped.From(c),
                    Gradient = CudaTyped.From(gradient),
                A = CudaMemory.Address(parameters[0]), Skip = CudaMemory.Address(parameters[1]), Bias = CudaMemory.Address(parameters[2]),
                Initial = CudaMemory.Address(parameters[3]),
                FinalGradient = CudaMemory.Address(finalGradient), Starts = CudaMemory.Address(starts), Lengths = CudaMemory.Address(lengths),
                Length = x.size(1), Channels = x.size(2), Groups = groups, States = states,
                BlocksPerGroup = (perGroup + 4 * shape.Channels - 1) / (4 * shape.Channels), Batch = x.size(0), Chunks = chunkCount,
                ChunkTiles = chunkTiles, LeadTiles = leadTiles,
                XRow = x.stride(0), XToken = x.stride(1), StepRow = step.stride(0), StepToken = step.stride(1), GateRow = gate?.stride(0) ?? 0,
                GateToken = gate?.stride(1) ?? 0,
                GradientRow = gradient?.stride(0) ?? 0, GradientToken = gradient?.stride(1) ?? 0, Softplus = softplus ? 1 : 0, Wide = wide ? 1 : 0,
            };
        }

        // There is one more chunk than are processed at once: the one where the walk begins is walked while the others find their contributions, and
        // it is so long (in thousandths of the others) that both end together. It is as short as possible for float32 forward, whose two loops slow
        // each other down on a multiprocessor, because they do not fit its cache.
        static (long Count, long Tiles, long LeadTiles) Chunks(long tiles, long atOnce, long lead)
        {
            if (atOnce == 1) return (1, tiles, tiles);
            long all = 1000 * atOnce + lead, each = (1000 * tiles + all - 1) / all, first = Math.Max(1, tiles - atOnce * each);
            return (1 + (tiles - first + each - 1) / each, each, first);
        }

        public long Tiles { get; }

        /// <summary>Gets the number of state elements of a row at the start of a tile.</summary>
        public long SavedOfTile { get; }

        int ForwardShared => Shape.Tile * (ElementSize * (4 * shape.Padded + 36 * shape.Channels) + sizeof(float) * (4 * shape.Padded + 2))
            + sizeof(float) * 32 * shape.GroupRow;

        int BackwardShared => Shape.Tile * (ElementSize * (4 * shape.Padded + 32 * shape.Channels)
            + sizeof(float) * (2 * shape.Copies * shape.Padded + 1 + 4 * shape.GroupRow + 4 * shape.Channels + 32 * shape.Held))
            + sizeof(float) * (16 * shape.Copies + 8 * shape.Fold * shape.Padded);

        // four times a tile of b, c, x, time step and gate as copied; twice b and c in float32; delta, delta x and the starts of documents
        int FewChannelsShared => 4 * Shape.Tile * (2 * shape.Padded + 3 * FewChannelsOfBlock) * ElementSize
            + sizeof(float) * 2 * (2 * shape.Padded * (Shape.Tile + 4) + FewChannelsOfBlock * (2 * Shape.Tile + 4) + Shape.Tile);

        int ElementSize => narrow ? 2 : 4;

        // whether rows of a number of elements, at most `most` at a time, can be copied in pieces of up to 16 bytes
        bool Whole(long elements, int most, params ReadOnlySpan<Tensor?> tensors)
        {
            long size = x.ElementSize, piece = Math.Min(16, most * size);
            if (elements * size % piece != 0) return false;
            foreach (var tensor in tensors)
            {
                if (tensor is null) continue;
                if (tensor.dtype != x.dtype || CudaMemory.Address(tensor) % piece != 0) return false;
                for (int i = 0; i < tensor.dim() - 1; i++)
                    if (tensor.size(i) > 1 && tensor.stride(i) * size % piece != 0) return false;
            }
            return true;
        }

        string TypeName => narrow ? "bfloat16" : "float32";

        string SourceOf(string kernels) => $"{Source} SCAN_SHAPE={shape.Name} {Options} SCAN_KERNELS={kernels}";

        string Options => $"SCAN_TYPE={TypeName} SCAN_ELEMENT={(narrow ? "bfloat16" : "float")} "
            + $"SCAN_GATED={(Arguments.Gate.Base == 0 ? 0 : 1)} SCAN_SOFTPLUS={Arguments.Softplus} SCAN_DOCUMENTS={(Arguments.Starts == 0 ? 0 : 1)}";

        /// <summary>Runs "forward" or "backward", including the preparation of the chunks of rows.</summary>
        public void Run(string direction)
        {
            var device = CudaRuntime.DeviceOf(x);
            if (fewChannels)
            {
                // whole slots of saved states
                Arguments.BlocksPerGroup = (Arguments.Channels / Arguments.Groups + shape.Channels - 1) / shape.Channels * (
                    shape.Channels / FewChannelsOfBlock);
                device.Launch($"{FewChannelsSource} {Options} SCAN_SAVES={(Arguments.Saved == 0 ? 0 : 1)}", $"scan_few_forward_{TypeName}",
                    (Arguments.Groups * Arguments.BlocksPerGroup, Arguments.Batch, 1), 128, FewChannelsShared, Arguments);
                GC.KeepAlive((x, kept));
                return;
            }
            int shared = direction == "forward" ? ForwardShared : Math.Max(BackwardShared, ForwardShared);
            void Launch(string kernels, string kernel) => device.Launch(SourceOf(kernels), $"scan_{kernel}_{shape.Name}_{TypeName}",
                (Arguments.Groups * Arguments.BlocksPerGroup, Arguments.Batch, Math.Max(1, Arguments.Chunks - 1)), 128, shared, Arguments);

            if (Arguments.Chunks > 1)
            {
                var states = CudaMemory.New(x, ScalarType.Float32, Arguments.Batch, Arguments.Chunks, Arguments.Channels, Arguments.States);
                var steps = CudaMemory.New(x, ScalarType.Float32, Arguments.Batch, Arguments.Chunks, Arguments.Channels);
                chunks = [states, steps];
                (Arguments.ChunkStates, Arguments.ChunkSteps) = (CudaMemory.Address(states), CudaMemory.Address(steps));
                Arguments.Launch = 1;
                Launch("SCAN_FIRST_OF", $"first_{direction}");
                device.Launch(SourceOf("SCAN_FIRST_OF"), $"scan_join_{direction}",
                    ((Arguments.Channels * Arguments.States + 127) / 128, Arguments.Batch, 1), 128, 0, Arguments);
                Arguments.Launch = 2;
            }
            Launch("SCAN_OF", direction);
            GC.KeepAlive((x, kept, chunks));
        }
    }

    // as in the kernel: a thread holds Held states, a warp Channels channels of up to Padded states
    sealed record Shape(int Padded, int Held, int Channels)
    {
        public const int Tile = 16;

        static readonly Shape[] All = [new(4, 4, 32), new(16, 16, 32), new(32, 16, 16), new(64, 16, 8), new(128, 16, 4), new(256, 16, 2)];

        public int Name => Padded;

        public int Fold => Padded >= 128 ? 4 : Tile;

        public int Copies => Padded <= 32 ? 4 : Padded == 64 ? 2 : 1;

        public int GroupRow => 2 * Channels + (Padded > 4 ? 16 : 0);

        public static Shape For(long states) => All.First(one => states <= one.Padded);
    }
}
