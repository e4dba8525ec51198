using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Computes one token of either scan on a GPU with the kernel in <c>StateUpdate.cu</c>.</summary>
static class StateUpdateCuda
{
    internal struct Arguments
    {
        public CudaTyped X, Dt, Z, B, C;
        public nint A, D, DtBias, Slots, State;
        public CudaTyped Output;
        public long Rows, Heads, HeadSize, Groups, States, Lanes, APerState, Softplus, SlotCount, XRow, DtRow, ZRow, BRow, CRow;
        public float MinDt, MaxDt;
    }

    // of either operator: A is (H) or (H, N)
    sealed record Token(Tensor X, Tensor Dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? Z, Tensor? DtBias)
    {
        public bool Softplus { get; init; }

        public (double Minimum, double Maximum)? DtLimit { get; init; }
    }

    const int RowsTogether = 4;                          // as in the kernel

    /// <summary>Computes one step of the selective scan and updates the state (B, D, N), or with slots (slots, D, N), in place.</summary>
    public static Tensor Step(Tensor state, SelectiveScanInputs inputs, Tensor? slots) =>
        Step(state, new Token(inputs.X, inputs.Dt, inputs.A, inputs.B, inputs.C, inputs.D, inputs.Z, inputs.DtBias) { Softplus = inputs.Softplus },
            slots);

    /// <summary>Computes one step of the state-space dual and updates the state (B, H, P, N), or with slots (slots, H, P, N), in place.</summary>
    public static Tensor Step(Tensor state, StateSpaceDualInputs inputs, Tensor? slots) =>
        Step(state, new Token(inputs.X, inputs.Dt, inputs.A, inputs.B, inputs.C, inputs.D, null, inputs.DtBias)
        {
            Softplus = inputs.Softplus, DtLimit = inputs.DtLimit,
        }, slots);

    static Tensor Step(Tensor state, Token token, Tensor? slots)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(token.X);
        // as the kernels read them
        token = token with
        {
            X = Sequences(token.X), Dt = Sequences(token.Dt), Z = token.Z is null ? null : Sequences(token.Z), A = token.A.contiguous(),
            B = Sequences(token.B), C = Sequences(token.C), D = CudaMemory.Float32(token.D), DtBias = CudaMemory.Float32(token.DtBias),
        };
        slots = slots?.contiguous();
        long states = token.B.size(2), rows = token.X.NumberOfElements;
        bool wide = ReadsFours(state, token.B, token.C);
        // the shapes of the kernel for several rows of a head at once
        int teams = states is 32 or 64 or 128 or 256 ? 128 / (int)Math.Min(32, states / 4) : 0;
        bool together = wide && teams > 0 && FitsTogether(token, teams);
        if (!together && rows >= int.MaxValue)
            throw Require.Unfit(nameof(state), $"state has {rows} rows of {states} numbers",
                "at most 2^31 - 1 rows of 32, 64, 128 or 256 numbers for the CUDA back end");
        long lanes = 1;
        while (lanes < 32 && lanes * (wide ? 4 : 1) < states) lanes *= 2;
        var arguments = ArgumentsFor(state, token, slots, output) with { Lanes = lanes };
        var (x, device) = (token.X, CudaRuntime.DeviceOf(token.X));
        if (together)
            device.Launch("StateUpdate.cu", $"state_update_rows_{states}_{(x.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32")}",
                (x.size(2) / (teams * RowsTogether), x.size(1), x.size(0)), 128, 0, arguments);
        else device.Launch("StateUpdate.cu", wide ? "state_update_vector" : "state_update_single", ((rows * lanes + 127) / 128, 1, 1), 128, 0,
            arguments);
        GC.KeepAlive((token, slots, state));
        return output.MoveToOuterDisposeScope();
    }

    static Arguments ArgumentsFor(Tensor state, Token token, Tensor? slots, Tensor output) => new()
    {
        X = CudaTyped.From(token.X), Dt = CudaTyped.From(token.Dt), Z = CudaTyped.From(token.Z), B = CudaTyped.From(token.B),
        C = CudaTyped.From(token.C), A = CudaMemory.Address(token.A), D = CudaMemory.Address(token.D), DtBias = CudaMemory.Address(token.DtBias),
        Slots = CudaMemory.Address(slots), State = CudaMemory.Address(state), Output = CudaTyped.From(output),
        Rows = token.X.NumberOfElements, Heads = token.X.size(1), HeadSize = token.X.dim() == 3 ? token.X.size(2) : 1, Groups = token.B.size(1),
        States = token.B.size(2), APerState = token.A.dim() == 2 ? 1 : 0, Softplus = token.Softplus ? 1 : 0, SlotCount = state.size(0),
        XRow = token.X.stride(0), DtRow = token.Dt.stride(0), ZRow = token.Z?.stride(0) ?? 0, BRow = token.B.stride(0), CRow = token.C.stride(0),
        MinDt = (float)(token.DtLimit?.Minimum ?? double.NegativeInfinity), MaxDt = (float)(token.DtLimit?.Maximum ?? double.PositiveInfinity),
    };

    // whether states, B and C can be read four at a time
    static bool ReadsFours(Tensor state, Tensor B, Tensor C) =>
        B.size(2) % 4 == 0 && CudaMemory.Address(state) % 16 == 0 && CudaMemory.Address(B) % (4 * B.ElementSize) == 0
        && CudaMemory.Address(C) % (4 * C.ElementSize) == 0 && (B.stride(0) | C.stride(0)) % 4 == 0;

    // whether several rows of a head can be computed at once
    static bool FitsTogether(Token token, int teams)
    {
        var x = token.X;
        if (token.A.dim() != 1 || x.dim() != 3 || x.size(2) % (teams * RowsTogether) != 0 || x.size(0) > 65535 || x.size(1) > 65535) return false;
        foreach (var tensor in (ReadOnlySpan<Tensor?>)[x, token.Dt, token.Z, token.B, token.C])
            if (tensor is not null && (tensor.dtype != x.dtype || CudaMemory.Address(tensor) % 16 != 0)) return false;
        return x.stride(0) % 4 == 0;
    }

    // the tensor itself if the data of a sequence is contiguous, as in a slice of a projection
    static Tensor Sequences(Tensor tensor)
    {
        long expected = 1;
        for (int dimension = (int)tensor.dim() - 1; dimension > 0; expected *= tensor.size(dimension--))
            if (tensor.size(dimension) > 1 && tensor.stride(dimension) != expected) return tensor.contiguous();
        return tensor;
    }
}
