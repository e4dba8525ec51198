using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Computes one token or a few tokens of either scan on a GPU with the kernels in <c>StateUpdate.cu</c>.</summary>
static class StateUpdateCuda
{
    internal struct Arguments
    {
        public CudaTyped X, Dt, Z, B, C;
        public nint A, D, DtBias, Slots, State;
        public CudaTyped Output;
        public long Rows, Heads, HeadSize, Groups, States, Lanes, APerState, Softplus, SlotCount, Tokens, XRow, DtRow, ZRow, BRow, CRow, XToken,
            DtToken, ZToken, BToken, CToken;
        public nint Before, Counts;
        public float MinDt, MaxDt;
    }

    // the inputs of either operator: A is (H) or (H, N)
    sealed record Token(Tensor X, Tensor Dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? Z, Tensor? DtBias)
    {
        public bool Softplus { get; init; }

        public (double Minimum, double Maximum)? DtLimit { get; init; }

        public static Token From(SelectiveScanInputs inputs) =>
            new(inputs.X, inputs.Dt, inputs.A, inputs.B, inputs.C, inputs.D, inputs.Z, inputs.DtBias) { Softplus = inputs.Softplus };

        public static Token From(StateSpaceDualInputs inputs) => new(inputs.X, inputs.Dt, inputs.A, inputs.B, inputs.C, inputs.D, null, inputs.DtBias)
        {
            Softplus = inputs.Softplus, DtLimit = inputs.DtLimit,
        };

        // batch, and tokens if there are several
        public int OuterDimensions => (int)X.dim() - (A.dim() == 2 ? 1 : 2);

        public long Tokens => OuterDimensions == 2 ? X.size(1) : 1;

        public long Heads => X.size(OuterDimensions);

        public long HeadSize => A.dim() == 2 ? 1 : X.size(OuterDimensions + 1);

        public long Rows => X.size(0) * Heads * HeadSize;

        // as the kernels read the tensors
        public Token Readable() => this with
        {
            X = Whole(X), Dt = Whole(Dt), Z = Z is null ? null : Whole(Z), A = A.contiguous(), B = Whole(B), C = Whole(C),
            D = CudaMemory.Float32(D), DtBias = CudaMemory.Float32(DtBias),
        };

        // the tensor itself if the data of a token of a sequence is contiguous, as in a slice of a projection
        Tensor Whole(Tensor tensor)
        {
            long expected = 1;
            for (int dimension = (int)tensor.dim() - 1; dimension >= OuterDimensions; expected *= tensor.size(dimension--))
                if (tensor.size(dimension) > 1 && tensor.stride(dimension) != expected) return tensor.contiguous();
            return tensor;
        }

        public long TokenStride(Tensor? tensor) => tensor is null || OuterDimensions == 1 ? 0 : tensor.stride(1);
    }

    sealed record Options(bool IsNarrow) : KernelVariant
    {
        public override string File => "StateUpdate.cu";

        public override IEnumerable<(string Name, object Value)> Definitions => [("STATE_BFLOAT16", Flag(IsNarrow))];
    }

    /// <summary>Returns the kernels for a type of states: float32 or bfloat16.</summary>
    internal static KernelVariant Variant(ScalarType states) => new Options(states == ScalarType.BFloat16);

    // the number of rows of a head that lanes process together, as in the kernel
    static int RowsTogether(Tensor state) => state.dtype == ScalarType.BFloat16 && state.size(-1) > 32 ? 8 : 4;

    /// <summary>Computes one step of the selective scan and updates the state (B, D, N), or with slots (slots, D, N), in place.</summary>
    public static Tensor Step(Tensor state, SelectiveScanInputs inputs, Tensor? slots) => Run(state, Token.From(inputs), slots);

    /// <summary>Computes one step of the state-space dual and updates the state (B, H, P, N), or with slots (slots, H, P, N), in place.</summary>
    public static Tensor Step(Tensor state, StateSpaceDualInputs inputs, Tensor? slots) => Run(state, Token.From(inputs), slots);

    /// <summary>
    /// Computes the tokens of a pass of the selective scan, (B, L, D), one after another, updates the state, and writes the state before to
    /// <paramref name="before"/>.
    /// </summary>
    public static Tensor Steps(Tensor state, Tensor before, SelectiveScanInputs inputs) => Run(state, Token.From(inputs), before: before);

    /// <summary>Computes the same of the state-space dual, (B, L, H, P).</summary>
    public static Tensor Steps(Tensor state, Tensor before, StateSpaceDualInputs inputs) => Run(state, Token.From(inputs), before: before);

    /// <summary>Sets the state of each row to that after the first tokens of a pass; <paramref name="counts"/> is (B) int64.</summary>
    public static void Replay(Tensor state, Tensor before, Tensor counts, SelectiveScanInputs inputs) =>
        Launch(state, Token.From(inputs), null, null, before, counts);

    /// <summary>Computes the same of the state-space dual.</summary>
    public static void Replay(Tensor state, Tensor before, Tensor counts, StateSpaceDualInputs inputs) =>
        Launch(state, Token.From(inputs), null, null, before, counts);

    static Tensor Run(Tensor state, Token token, Tensor? slots = null, Tensor? before = null)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(token.X);
        Launch(state, token, slots, output, before, null);
        return output.MoveToOuterDisposeScope();
    }

    static void Launch(Tensor state, Token token, Tensor? slots, Tensor? output, Tensor? before, Tensor? counts)
    {
        using var scope = NewDisposeScope();
        token = token.Readable();
        slots = slots?.contiguous();
        long states = token.B.size(-1), rows = token.Rows;
        bool wide = ReadsFours(state, token);
        // the shapes of the kernel for several rows of a head at once
        int teams = states is 32 or 64 or 128 or 256 ? 128 / (int)Math.Min(32, states / 4) : 0;
        int rowsTogether = RowsTogether(state);
        bool together = wide && teams > 0 && FitsTogether(token, teams, rowsTogether);
        if (!together && rows >= int.MaxValue)
            throw Require.Unfit(nameof(state), $"state has {rows} rows of {states} numbers",
                "at most 2^31 - 1 rows of 32, 64, 128 or 256 numbers for the CUDA back end");
        long lanes = 1;
        while (lanes < 32 && lanes * (wide ? 4 : 1) < states) lanes *= 2;
        var arguments = ArgumentsFor(state, token) with
        {
            Lanes = lanes, Slots = CudaMemory.Address(slots), Output = CudaTyped.From(output), Before = CudaMemory.Address(before),
            Counts = CudaMemory.Address(counts),
        };
        var (x, device, variant) = (token.X, CudaRuntime.DeviceOf(token.X), Variant(state.dtype));
        if (together)
            device.Launch(variant, $"state_update_rows_{states}_{(x.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32")}",
                (token.HeadSize / (teams * rowsTogether), token.Heads, x.size(0)), 128, 0, arguments);
        else device.Launch(variant, wide ? "state_update_vector" : "state_update_single", ((rows * lanes + 127) / 128, 1, 1), 128, 0,
            arguments);
        GC.KeepAlive((token, slots, state, output, before, counts));
    }

    static Arguments ArgumentsFor(Tensor state, Token token) => new()
    {
        X = CudaTyped.From(token.X), Dt = CudaTyped.From(token.Dt), Z = CudaTyped.From(token.Z), B = CudaTyped.From(token.B),
        C = CudaTyped.From(token.C), A = CudaMemory.Address(token.A), D = CudaMemory.Address(token.D), DtBias = CudaMemory.Address(token.DtBias),
        State = CudaMemory.Address(state), Rows = token.Rows, Heads = token.Heads, HeadSize = token.HeadSize, Groups = token.B.size(-2),
        States = token.B.size(-1), APerState = token.A.dim() == 2 ? 1 : 0, Softplus = token.Softplus ? 1 : 0, SlotCount = state.size(0),
        Tokens = token.Tokens, XRow = token.X.stride(0), DtRow = token.Dt.stride(0), ZRow = token.Z?.stride(0) ?? 0, BRow = token.B.stride(0),
        CRow = token.C.stride(0), XToken = token.TokenStride(token.X), DtToken = token.TokenStride(token.Dt), ZToken = token.TokenStride(token.Z),
        BToken = token.TokenStride(token.B), CToken = token.TokenStride(token.C),
        MinDt = (float)(token.DtLimit?.Minimum ?? double.NegativeInfinity), MaxDt = (float)(token.DtLimit?.Maximum ?? double.PositiveInfinity),
    };

    // whether states, B and C can be read four at a time
    static bool ReadsFours(Tensor state, Token token)
    {
        var (B, C) = (token.B, token.C);
        return B.size(-1) % 4 == 0 && CudaMemory.Address(state) % (4 * state.ElementSize) == 0
            && CudaMemory.Address(B) % (4 * B.ElementSize) == 0
            && CudaMemory.Address(C) % (4 * C.ElementSize) == 0
            && (B.stride(0) | C.stride(0) | token.TokenStride(B) | token.TokenStride(C)) % 4 == 0;
    }

    // whether several rows of a head can be computed at once
    static bool FitsTogether(Token token, int teams, int rows)
    {
        var x = token.X;
        if (token.A.dim() != 1 || token.HeadSize % (teams * rows) != 0 || x.size(0) > 65535 || token.Heads > 65535) return false;
        foreach (var tensor in (ReadOnlySpan<Tensor?>)[x, token.Dt, token.Z, token.B, token.C])
            if (tensor is not null && (tensor.dtype != x.dtype || CudaMemory.Address(tensor) % 16 != 0)) return false;
        return (x.stride(0) | token.TokenStride(x)) % rows == 0;
    }
}
