using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>One token of either scan on a card; <c>StateUpdate.cu</c> holds the kernel.</summary>
static class StateUpdateCuda
{
    struct Arguments
    {
        public CudaTyped X, TimeStep, Gate, B, C;
        public nint A, Skip, Bias, State;
        public CudaTyped Output;
        public long Rows, Heads, HeadSize, Groups, States, Lanes, RatePerState, Softplus;
        public float Minimum, Maximum;
    }

    /// <summary>state (B, H, P, N), or (B, H, N) with P = 1, is updated in place; x like it without N; timeStep (B, H); a (H) or (H, N); b, c (B, G, N).</summary>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate, Tensor? timeStepBias, bool softplus,
        (double Minimum, double Maximum)? limit)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(x);
        (x, timeStep, gate, b, c, a) = (x.contiguous(), timeStep.contiguous(), gate?.contiguous(), b.contiguous(), c.contiguous(), a.contiguous());
        var (skips, biases) = (CudaMemory.Float32(skip), CudaMemory.Float32(timeStepBias));
        long states = b.size(2), rows = state.NumberOfElements / states;
        bool wide = states % 4 == 0 && CudaMemory.Address(state) % 16 == 0;
        long lanes = 1;
        while (lanes < 32 && lanes * (wide ? 4 : 1) < states) lanes *= 2;
        var arguments = new Arguments
        {
            X = CudaTyped.Of(x), TimeStep = CudaTyped.Of(timeStep), Gate = CudaTyped.Of(gate), B = CudaTyped.Of(b), C = CudaTyped.Of(c),
            A = CudaMemory.Address(a), Skip = CudaMemory.Address(skips), Bias = CudaMemory.Address(biases), State = CudaMemory.Address(state), Output = CudaTyped.Of(output),
            Rows = rows, Heads = x.size(1), HeadSize = x.dim() == 3 ? x.size(2) : 1, Groups = b.size(1), States = states, Lanes = lanes, RatePerState = a.dim() == 2 ? 1 : 0,
            Softplus = softplus ? 1 : 0, Minimum = (float)(limit?.Minimum ?? double.NegativeInfinity), Maximum = (float)(limit?.Maximum ?? double.PositiveInfinity),
        };
        CudaRuntime.DeviceOf(x).Launch("StateUpdate.cu", wide ? "state_update_vector" : "state_update_single", ((rows * lanes + 127) / 128, 1, 1), 128, 0, arguments);
        GC.KeepAlive((x, timeStep, gate, b, c, a, skips, biases, state));
        return output.MoveToOuterDisposeScope();
    }
}
