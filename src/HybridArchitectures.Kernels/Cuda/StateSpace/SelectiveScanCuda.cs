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

    // except if more chunks than this can be processed at once and rows have more tiles than that; and, as in the kernel, the channels of a block
    const int MaxChunksForWholeRows = 16, MaxTilesOfShortRows = 160, FewChannelsOfBlock = 16;

    sealed record Saved(SelectiveScanInputs Inputs, RowLayout Layout, Tensor? States) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Layout.Map(replace), replace(States));
    }

    /// <summary>Contains the arguments of the kernels, which <c>SelectiveScan.cuh</c> documents.</summary>
    internal struct Arguments
    {
        public CudaTyped X, Dt, Z, B, C, Gradient;
        public nint A, D, DtBias, Initial, FinalGradient, Starts, Lengths;
        public CudaTyped Output, DX, DDt, DZ;
        public nint Final, Saved, DA, DB, DC, DD, DDtBias, DInitial, ChunkStates, ChunkSteps;
        public long Length, Channels, Groups, States, BlocksPerGroup, Batch, Chunks, ChunkTiles, LeadTiles, Launch, XRow, XToken, DtRow, DtToken,
            ZRow, ZToken, GradientRow, GradientToken;
        public int Softplus, Wide;
    }

    /// <summary>Computes the scan. B and C have the dimension of groups.</summary>
    public static (Tensor Output, Tensor FinalState) Forward(SelectiveScanInputs inputs)
    {
        var layout = RowLayout.From(inputs.Layout);
        var results = Autograd.Apply<Saved>(inputs.Differentiable, context =>
        {
            var call = new Call(inputs, layout, null, null);
            var output = CudaMemory.New(inputs.X, inputs.X.dtype, inputs.Batch, inputs.Length, inputs.Channels);
            var final = CudaMemory.New(inputs.X, ScalarType.Float32, inputs.Batch, inputs.Channels, inputs.StateSize);
            var states = context.NeedsGradient ? CudaMemory.New(inputs.X, ScalarType.Float32, inputs.Batch, call.Tiles, call.SavedOfTile) : null;
            call.Arguments.Output = CudaTyped.From(output);
            call.Arguments.Final = CudaMemory.Address(final);
            call.Arguments.Saved = CudaMemory.Address(states);
            call.Run("forward");
            return ([output, final], new Saved(inputs, layout, states));
        }, Backward);
        return (results[0], results[1]);
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var inputs = saved.Inputs;
        var (x, batch, length, channels) = (inputs.X, inputs.Batch, inputs.Length, inputs.Channels);
        var gradient = context.Gradients[0] ?? zeros([batch, length, channels], x.dtype, x.device);
        var call = new Call(inputs, saved.Layout, gradient, context.Gradients[1]?.contiguous());
        Tensor Typed(ScalarType type) => CudaMemory.New(x, type, batch, length, channels);
        Tensor NewFloat32(params long[] sizes) => CudaMemory.New(x, ScalarType.Float32, sizes);
        long parts = batch * call.Arguments.Chunks, slices = call.Arguments.BlocksPerGroup;
        var gradients = new SelectiveScanInputs(Typed(x.dtype), Typed(inputs.Dt.dtype), NewFloat32(parts, channels, inputs.StateSize),
            NewFloat32(slices, batch, length, inputs.Groups, inputs.StateSize), NewFloat32(slices, batch, length, inputs.Groups, inputs.StateSize))
        {
            D = NewFloat32(parts, channels), Z = inputs.Z is null ? null : Typed(inputs.Z.dtype), DtBias = NewFloat32(parts, channels),
            InitialState = inputs.InitialState is null ? null : NewFloat32(batch, channels, inputs.StateSize),
        };
        ref var to = ref call.Arguments;
        (to.DX, to.DDt, to.DZ) = (CudaTyped.From(gradients.X), CudaTyped.From(gradients.Dt), CudaTyped.From(gradients.Z));
        (to.DA, to.DB, to.DC) = (CudaMemory.Address(gradients.A), CudaMemory.Address(gradients.B), CudaMemory.Address(gradients.C));
        (to.DD, to.DDtBias, to.DInitial) =
            (CudaMemory.Address(gradients.D), CudaMemory.Address(gradients.DtBias), CudaMemory.Address(gradients.InitialState));
        to.Saved = CudaMemory.Address(saved.States);
        call.Run("backward");
        GC.KeepAlive(saved);
        var sums = PartialSumsCuda.Compute((gradients.B, inputs.B), (gradients.C, inputs.C), (gradients.A, inputs.A), (gradients.D, inputs.D),
            (gradients.DtBias, inputs.DtBias));
        return (gradients with { B = sums[0]!, C = sums[1]!, A = sums[2]!, D = sums[3], DtBias = sums[4] }).Differentiable;
    }

    // shared by both directions
    sealed class Call
    {
        readonly Tensor x;
        readonly Tensor?[] roots;           // keeps the memory of the arguments alive
        readonly Shape shape;
        readonly bool narrow, fewChannels;
        Tensor[]? chunks;

        public Arguments Arguments;

        public Call(SelectiveScanInputs inputs, RowLayout layout, Tensor? gradient, Tensor? finalGradient)
        {
            static Tensor? Rows(Tensor? tensor) => tensor is null || tensor.size(2) == 1 || tensor.stride(2) == 1 ? tensor : tensor.contiguous();
            gradient = Rows(gradient);
            // as the kernels read them
            inputs = inputs with
            {
                X = Rows(inputs.X)!, Dt = Rows(inputs.Dt)!, Z = Rows(inputs.Z), A = inputs.A.contiguous(), B = inputs.B.contiguous(),
                C = inputs.C.contiguous(), D = CudaMemory.Float32(inputs.D), DtBias = CudaMemory.Float32(inputs.DtBias),
                InitialState = inputs.InitialState?.contiguous(),
            };
            x = inputs.X;
            roots = [.. inputs.Differentiable, layout.Starts, layout.Lengths, gradient, finalGradient];
            long perGroup = inputs.Channels / inputs.Groups;
            shape = Shape.For(inputs.StateSize);
            Tiles = (inputs.Length + Shape.Tile - 1) / Shape.Tile;
            SavedOfTile = inputs.Groups * ((perGroup + shape.Channels - 1) / shape.Channels) * 32 * shape.Held;
            var limits = OperatorOptions.Current.Thresholds;
            // depends only on the sizes and not on the GPU: sums over chunks are bit-equal everywhere
            long warps = inputs.Batch * ((inputs.Channels + shape.Channels - 1) / shape.Channels),
                atOnce = Math.Max(1, Math.Min(Tiles / limits.MinScanTilesPerChunk, limits.ScanWarps / warps));
            // all of one type and in whole pieces: the kernel of that type with its copies; otherwise the one for float32, element by element
            bool wide = Whole(perGroup, shape.Channels, x, inputs.Dt, inputs.Z, gradient)
                && Whole(inputs.StateSize, shape.Padded, inputs.B, inputs.C);
            narrow = x.dtype == ScalarType.BFloat16 && wide;
            fewChannels = gradient is null && wide && shape.Padded == 16 && warps <= limits.MaxScanWarpsForWholeRows
                && (limits.ScanWarps / warps <= MaxChunksForWholeRows || Tiles <= MaxTilesOfShortRows) && inputs.Length < 1 << 30;
            Arguments = ArgumentsFor(inputs, layout, gradient, finalGradient);
            Arguments.BlocksPerGroup = (perGroup + 4 * shape.Channels - 1) / (4 * shape.Channels);
            Arguments.Wide = wide ? 1 : 0;
            (Arguments.Chunks, Arguments.ChunkTiles, Arguments.LeadTiles) =
                Chunks(Tiles, atOnce, gradient is not null ? 280 : narrow ? 850 : 0);
        }

        static Arguments ArgumentsFor(SelectiveScanInputs inputs, RowLayout layout, Tensor? gradient, Tensor? finalGradient) => new()
        {
            X = CudaTyped.From(inputs.X), Dt = CudaTyped.From(inputs.Dt), Z = CudaTyped.From(inputs.Z), B = CudaTyped.From(inputs.B),
            C = CudaTyped.From(inputs.C), Gradient = CudaTyped.From(gradient), A = CudaMemory.Address(inputs.A), D = CudaMemory.Address(inputs.D),
            DtBias = CudaMemory.Address(inputs.DtBias), Initial = CudaMemory.Address(inputs.InitialState),
            FinalGradient = CudaMemory.Address(finalGradient), Starts = CudaMemory.Address(layout.Starts),
            Lengths = CudaMemory.Address(layout.Lengths), Length = inputs.Length, Channels = inputs.Channels, Groups = inputs.Groups,
            States = inputs.StateSize, Batch = inputs.Batch, XRow = inputs.X.stride(0), XToken = inputs.X.stride(1), DtRow = inputs.Dt.stride(0),
            DtToken = inputs.Dt.stride(1), ZRow = inputs.Z?.stride(0) ?? 0, ZToken = inputs.Z?.stride(1) ?? 0,
            GradientRow = gradient?.stride(0) ?? 0, GradientToken = gradient?.stride(1) ?? 0, Softplus = inputs.Softplus ? 1 : 0,
        };

        // There is one more chunk than are processed at once: the one where the scan begins is scanned while the others find their contributions, and
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

        // four times a tile of B, C, x, dt and z as copied; twice B and C in float32; dt, dt x and the starts of documents
        int FewChannelsShared => 4 * Shape.Tile * (2 * shape.Padded + 3 * FewChannelsOfBlock) * ElementSize
            + sizeof(float) * 2 * (2 * shape.Padded * (Shape.Tile + 4) + FewChannelsOfBlock * (2 * Shape.Tile + 4) + Shape.Tile);

        int ElementSize => narrow ? 2 : 4;

        // whether rows of a number of elements, at most `most` at a time, can be copied in pieces of up to 16 bytes
        bool Whole(long elements, int maxElements, params ReadOnlySpan<Tensor?> tensors)
        {
            long size = x.ElementSize, piece = Math.Min(16, maxElements * size);
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

        SelectiveScanOptions Options => new(narrow, Arguments.Z.Base != 0, Arguments.Softplus != 0, Arguments.Starts != 0);

        /// <summary>Runs "forward" or "backward", including the preparation of the chunks of rows.</summary>
        public void Run(string direction)
        {
            var device = CudaRuntime.DeviceOf(x);
            if (fewChannels)
            {
                // whole slots of saved states
                Arguments.BlocksPerGroup = (Arguments.Channels / Arguments.Groups + shape.Channels - 1) / shape.Channels * (
                    shape.Channels / FewChannelsOfBlock);
                device.Launch(Options.FewChannels(Arguments.Saved != 0), $"scan_few_forward_{TypeName}",
                    (Arguments.Groups * Arguments.BlocksPerGroup, Arguments.Batch, 1), 128, FewChannelsShared, Arguments);
                GC.KeepAlive(roots);
                return;
            }
            int shared = direction == "forward" ? ForwardShared : Math.Max(BackwardShared, ForwardShared);
            void Launch(bool first, string kernel) => device.Launch(Options.Variant(shape.Padded, first), $"scan_{kernel}_{shape.Name}_{TypeName}",
                (Arguments.Groups * Arguments.BlocksPerGroup, Arguments.Batch, Math.Max(1, Arguments.Chunks - 1)), 128, shared, Arguments);

            if (Arguments.Chunks > 1)
            {
                var states = CudaMemory.New(x, ScalarType.Float32, Arguments.Batch, Arguments.Chunks, Arguments.Channels, Arguments.States);
                var steps = CudaMemory.New(x, ScalarType.Float32, Arguments.Batch, Arguments.Chunks, Arguments.Channels);
                chunks = [states, steps];
                (Arguments.ChunkStates, Arguments.ChunkSteps) = (CudaMemory.Address(states), CudaMemory.Address(steps));
                Arguments.Launch = 1;
                Launch(true, $"first_{direction}");
                device.Launch(Options.Variant(shape.Padded, first: true), $"scan_join_{direction}",
                    ((Arguments.Channels * Arguments.States + 127) / 128, Arguments.Batch, 1), 128, 0, Arguments);
                Arguments.Launch = 2;
            }
            Launch(false, direction);
            GC.KeepAlive((roots, chunks));
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
