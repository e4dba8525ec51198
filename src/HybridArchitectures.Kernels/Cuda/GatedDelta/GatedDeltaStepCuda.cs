using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>Computes one token of the gated delta rule on a GPU with the kernel in <c>GatedDeltaStep.cu</c>.</summary>
static class GatedDeltaStepCuda
{
    const int Warps = 8, Columns = 32;

    // rows of a state that a block holds in registers
    const long MaxKeySize = 256, MaxGrid = 65_535;

    struct Sequences
    {
        public CudaTyped Numbers;
        public long Row, Head;

        public static Sequences From(Tensor x) => new() { Numbers = CudaTyped.From(x), Row = x.stride(0), Head = x.stride(1) };
    }

    struct Arguments
    {
        public Sequences Query, Key, Value, Decay, Strength;
        public nint State;
        public CudaTyped Output;
        public long Heads, Groups, Keys, Values;
    }

    /// <summary>Returns whether the kernel supports these tensors.</summary>
    public static bool Supports(Tensor key, Tensor value) =>
        value.dtype is ScalarType.Float32 or ScalarType.BFloat16 && key.size(2) <= MaxKeySize && value.size(0) <= MaxGrid && value.size(1) <= MaxGrid;

    /// <summary>Updates the state in place and returns the output. The arguments are those of <see cref="Operators.GatedDeltaRule.Step"/>.</summary>
    public static Tensor Step(Tensor state, Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(value);
        (query, key, value) = (Dense(query), Dense(key), Dense(value));
        var arguments = new Arguments
        {
            Query = Sequences.From(query), Key = Sequences.From(key), Value = Sequences.From(value), Decay = Sequences.From(decay),
            Strength = Sequences.From(strength), State = CudaMemory.Address(state), Output = CudaTyped.From(output), Heads = value.size(1),
            Groups = key.size(1), Keys = key.size(2), Values = value.size(2),
        };
        long rows = (arguments.Keys + Warps - 1) / Warps;
        int shared = sizeof(float) * (2 * Warps * (int)rows + 2 * Warps * Columns);
        CudaRuntime.DeviceOf(value).Launch($"GatedDeltaStep.cu DELTA_ROWS={rows}", "delta_step",
            ((arguments.Values + Columns - 1) / Columns, arguments.Heads, value.size(0)), Warps * 32, shared, arguments);
        GC.KeepAlive((state, query, key, value, decay, strength));
        return output.MoveToOuterDisposeScope();
    }

    static Tensor Dense(Tensor x) => x.size(2) == 1 || x.stride(2) == 1 ? x : x.contiguous();
}
