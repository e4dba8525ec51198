using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>
/// Computes one token of the gated delta rule or of linear attention on a GPU with the kernel in <c>GatedDeltaStep.cu</c>.
/// </summary>
static class GatedDeltaStepCuda
{
    const int Warps = 8, Columns = 32;

    // the maximum number of rows of a state that a block holds in registers
    const long MaxKeySize = 256, MaxGrid = 65_535;

    /// <summary>Describes a tensor (rows, heads, elements) of either type with a dense last dimension.</summary>
    internal struct TokenRows
    {
        public CudaTyped Numbers;
        public long RowStride, HeadStride;

        public static TokenRows From(Tensor? x) => x is null ? default
            : new() { Numbers = CudaTyped.From(x), RowStride = x.stride(0), HeadStride = x.stride(1) };
    }

    internal struct Arguments
    {
        public TokenRows Query, Key, Value, Decay, Strength;
        public nint State;
        public CudaTyped Output;
        public long Heads, Groups, Keys, Values;
    }

    /// <summary>Contains the options of the kernel.</summary>
    /// <param name="Rows">The number of rows of the state that a thread holds in registers.</param>
    /// <param name="Form">Which recurrence the kernel computes.</param>
    internal sealed record Variant(long Rows, GatedDeltaForm Form) : KernelVariant
    {
        public override string File => "GatedDeltaStep.cu";

        public override IEnumerable<(string Name, object Value)> Definitions => 
        [
            ("DELTA_ROWS", Rows), ("DELTA_CHANNELS", Flag(Form != GatedDeltaForm.HeadDecays)),
            ("DELTA_CORRECTS", Flag(Form != GatedDeltaForm.LinearAttention)),
        ];
    }

    /// <summary>Returns whether the kernel supports these tensors.</summary>
    public static bool Supports(Tensor key, Tensor value) =>
        value.dtype is ScalarType.Float32 or ScalarType.BFloat16 && key.size(2) <= MaxKeySize && value.size(0) <= MaxGrid && value.size(1) <= MaxGrid;

    /// <summary>
    /// Updates the state in place and returns the output. The arguments are those of <see cref="Operators.GatedDeltaRule.Step"/>, or with a
    /// decay per key channel those of <see cref="Operators.ChannelDeltaRule.Step"/> or <see cref="Operators.LinearAttention.Step"/>.
    /// </summary>
    public static Tensor Step(Tensor state, DeltaRuleInputs inputs)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(inputs.Value);
        var (query, key, value) = (Dense(inputs.Query), Dense(inputs.Key), Dense(inputs.Value));
        var decay = inputs.DecaysChannels ? Dense(inputs.Decay) : inputs.Decay;
        var arguments = new Arguments
        {
            Query = TokenRows.From(query), Key = TokenRows.From(key), Value = TokenRows.From(value), Decay = TokenRows.From(decay),
            Strength = TokenRows.From(inputs.Strength), State = CudaMemory.Address(state), Output = CudaTyped.From(output), Heads = inputs.Heads,
            Groups = key.size(1), Keys = inputs.KeySize, Values = inputs.ValueSize,
        };
        long rows = (arguments.Keys + Warps - 1) / Warps;
        int shared = sizeof(float) * ((inputs.DecaysChannels ? 3 : 2) * Warps * (int)rows + 2 * Warps * Columns);
        CudaRuntime.DeviceOf(value).Launch(new Variant(rows, inputs.Form), "delta_step",
            ((arguments.Values + Columns - 1) / Columns, arguments.Heads, inputs.Batch), Warps * 32, shared, arguments);
        GC.KeepAlive((state, query, key, value, decay, inputs));
        return output.MoveToOuterDisposeScope();
    }

    static Tensor Dense(Tensor x) => x.size(2) == 1 || x.stride(2) == 1 ? x : x.contiguous();
}
