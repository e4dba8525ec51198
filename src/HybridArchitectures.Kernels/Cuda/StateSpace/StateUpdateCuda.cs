using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Computes one token of either scan on a GPU with the kernel in <c>StateUpdate.cu</c>.</summary>
static class StateUpdateCuda
{
    struct Arguments
    {
        public CudaTyped X, TimeStep, Gate, B, C;
        public nint A, Skip, Bias, Slots, State;
        public CudaTyped Output;
        public long Rows, Heads, HeadSize, Groups, States, Lanes, RatePerState, Softplus, SlotCount, XRow, TimeStepRow, GateRow, BRow, CRow;
        public float Minimum, Maximum;
    }

    const int RowsTogether = 4;                          // as in the kernel

    /// <summary>
    /// Computes one step. state (B, H, P, N), or (B, H, N) with P = 1, is updated in place; x has the same shape without N; timeStep is (B, H); a is
    /// (H) or (H, N); b and c are (B, G, N). With slots (B), the state has any first size, and sequence i is at slots[i], or absent if that is -1.
    /// </summary>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate, Tensor? timeStepBias,
    bool softplus,
        (double Minimum, double Maximum)? limit, Tensor? slots = null)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(x);
        (x, timeStep, gate, b, c) = (Sequences(x), Sequences(timeStep), gate is null ? null : Sequences(gate), Sequences(b), Sequences(c));
        (a, slots) = (a.contiguous(), slots?.contiguous());
        var (skips, biases) = (CudaMemory.Float32(skip), CudaMemory.Float32(timeStepBias));
        long states = b.size(2), rows = x.NumberOfElements;
        bool wide = states % 4 == 0 && CudaMemory.Address(state) % 16 == 0 && CudaMemory.Address(b) % (4 * b.ElementSize) == 0
            && CudaMemory.Address(c) % (4 * c.ElementSize) == 0 && (b.stride(0) | c.stride(0)) % 4 == 0;
        // the shapes of the kernel for several rows of a head at once
        int teams = states is 32 or 64 or 128 or 256 ? 128 / (int)Math.Min(32, states / 4) : 0;
        bool together = wide && teams > 0 && a.dim() == 1 && x.dim() == 3 && x.size(2) % (teams * RowsTogether) == 0 && x.size(0) <= 65535
            && x.size(1) <= 65535;
        foreach (var tensor in (ReadOnlySpan<Tensor?>)[x, timeStep, gate, b, c])
            together &= tensor is null || (tensor.dtype == x.dtype && CudaMemory.Address(tensor) % 16 == 0);
        together &= x.stride(0) % 4 == 0;
        if (!together && rows >= int.MaxValue)
            throw Require.Unfit(nameof(state), $"state has {rows} rows of {states} numbers",
                "at most 2^31 - 1 rows of 32, 64, 128 or 256 numbers for the CUDA back end");
        long lanes = 1;
        while (lanes < 32 && lanes * (wide ? 4 : 1) < states) lanes *= 2;
        var arguments = new Arguments
        {
            X = CudaTyped.From(x), TimeStep = CudaTyped.From(timeStep), Gate = CudaTyped.From(gate), B = CudaTyped.From(b), C = CudaTyped.From(c),
            A = CudaMemory.Address(a), Skip = CudaMemory.Address(skips), Bias = CudaMemory.Address(biases), Slots = CudaMemory.Address(slots),
            State = CudaMemory.Address(state), Output = CudaTyped.From(output),
            Rows = rows, Heads = x.size(1), HeadSize = x.dim() == 3 ? x.size(2) : 1, Groups = b.size(1), States = states, Lanes = lanes,
            RatePerState = a.dim() == 2 ? 1 : 0,
            Softplus = softplus ? 1 : 0, SlotCount = state.size(0),
            XRow = x.stride(0), TimeStepRow = timeStep.stride(0), GateRow = gate?.stride(0) ?? 0, BRow = b.stride(0), CRow = c.stride(0),
            Minimum = (float)(limit?.Minimum ?? double.NegativeInfinity), Maximum = (float)(limit?.Maximum ?? double.PositiveInfinity),
        };
        var device = CudaRuntime.DeviceOf(x);
        if (together)
            device.Launch("StateUpdate.cu", $"state_update_rows_{states}_{(x.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32")}",
                (x.size(2) / (teams * RowsTogether), x.size(1), x.size(0)), 128, 0, arguments);
        else device.Launch("StateUpdate.cu", wide ? "state_update_vector" : "state_update_single", ((rows * lanes + 127) / 128, 1, 1), 128, 0,
            arguments);
        GC.KeepAlive((x, timeStep, gate, b, c, a, skips, biases, slots, state));
        return output.MoveToOuterDisposeScope();
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
