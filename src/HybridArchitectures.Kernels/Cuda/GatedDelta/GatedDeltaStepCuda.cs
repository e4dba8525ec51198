using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>
/// Computes one token or a few tokens of the gated delta rule or of linear attention on a GPU with the kernel in <c>GatedDeltaStep.cu</c>.
/// </summary>
static class GatedDeltaStepCuda
{
    const int Warps = 8, Columns = 32;

    // the maximum number of rows of a state that a block holds in registers
    const long MaxKeySize = 256, MaxGrid = 65_535;

    /// <summary>Describes a tensor (rows, tokens, heads, elements) of either type with a dense last dimension.</summary>
    internal struct TokenRows
    {
        public CudaTyped Numbers;
        public long RowStride, TokenStride, HeadStride;

        // a tensor of one token has no dimension of tokens
        public static TokenRows From(Tensor? x, bool isSeveral) => x is null ? default : new()
        {
            Numbers = CudaTyped.From(x), RowStride = x.stride(0), TokenStride = isSeveral ? x.stride(1) : 0, HeadStride = x.stride(isSeveral ? 2 : 1),
        };
    }

    internal struct Arguments
    {
        public TokenRows Query, Key, Value, Decay, Strength;
        public nint State, From, Before;
        public CudaTyped Output;
        public long Heads, Groups, Keys, Values, Tokens;
        public nint Counts;
        public CudaTyped Bias, DecayRates;
        public float QueryScale, Epsilon, MaxStrength, Reserved;
    }

    /// <summary>Contains the options of the kernel.</summary>
    /// <param name="Rows">The number of rows of the state that a thread holds in registers.</param>
    /// <param name="Form">Which recurrence the kernel computes.</param>
    /// <param name="IsProjected">Whether lengths, strengths and decays are those of projections.</param>
    internal sealed record Variant(long Rows, GatedDeltaForm Form, bool IsProjected = false) : KernelVariant
    {
        public override string File => "GatedDeltaStep.cu";

        public override IEnumerable<(string Name, object Value)> Definitions => 
        [
            ("DELTA_ROWS", Rows), ("DELTA_CHANNELS", Flag(Form != GatedDeltaForm.HeadDecays)),
            ("DELTA_CORRECTS", Flag(Form != GatedDeltaForm.LinearAttention)), ("DELTA_PROJECTED", Flag(IsProjected)),
        ];
    }

    /// <summary>Returns whether the kernel supports these tensors.</summary>
    public static bool Supports(Tensor key, Tensor value) =>
        value.dtype is ScalarType.Float32 or ScalarType.BFloat16 && key.size(-1) <= MaxKeySize && value.size(0) <= MaxGrid
        && value.size(-2) <= MaxGrid;

    /// <summary>
    /// Updates the state in place and returns the output. The arguments are those of <see cref="Operators.GatedDeltaRule.Step"/>, or with a
    /// decay per key channel those of <see cref="Operators.ChannelDeltaRule.Step"/> or <see cref="Operators.LinearAttention.Step"/>.
    /// </summary>
    public static Tensor Step(Tensor state, DeltaRuleInputs inputs) => Run(state, inputs, null);

    /// <summary>
    /// Computes the tokens of a pass, with the shapes of <see cref="Operators.GatedDeltaRule.Forward"/>, one after another, updates the state, and
    /// writes the state before to <paramref name="before"/>.
    /// </summary>
    public static Tensor Steps(Tensor state, Tensor before, DeltaRuleInputs inputs) => Run(state, inputs, before);

    /// <summary>Sets the state of each row to that after the first tokens of a pass; <paramref name="counts"/> is (B) int64.</summary>
    public static void Replay(Tensor state, Tensor before, Tensor counts, DeltaRuleInputs inputs) =>
        Launch(state, inputs, null, before, counts);

    static Tensor Run(Tensor state, DeltaRuleInputs inputs, Tensor? before)
    {
        using var scope = NewDisposeScope();
        var output = CudaMemory.NewLike(inputs.Value);
        Launch(state, inputs, output, before, null);
        return output.MoveToOuterDisposeScope();
    }

    static void Launch(Tensor state, DeltaRuleInputs inputs, Tensor? output, Tensor? before, Tensor? counts)
    {
        using var scope = NewDisposeScope();
        bool isSeveral = inputs.Value.dim() == 4;
        var (query, key, value) = (Dense(inputs.Query), Dense(inputs.Key), Dense(inputs.Value));
        var decay = inputs.DecaysChannels ? Dense(inputs.Decay) : inputs.Decay;
        TokenRows From(Tensor? x) => TokenRows.From(x, isSeveral);
        var arguments = new Arguments
        {
            Query = From(query), Key = From(key), Value = From(value), Decay = From(decay), Strength = From(inputs.Strength),
            State = CudaMemory.Address(state), From = CudaMemory.Address(counts is null ? state : before),
            Before = CudaMemory.Address(counts is null ? before : null), Output = CudaTyped.From(output), Heads = inputs.Heads,
            Groups = key.size(-2), Keys = inputs.KeySize, Values = inputs.ValueSize, Tokens = isSeveral ? inputs.Length : 1,
            Counts = CudaMemory.Address(counts),
        };
        var projected = inputs.Projected;
        if (projected is not null)
            arguments = arguments with
            {
                Bias = CudaTyped.From(projected.Bias), DecayRates = CudaTyped.From(projected.A), QueryScale = (float)projected.QueryScale,
                Epsilon = (float)projected.Epsilon, MaxStrength = (float)projected.MaxStrength,
            };
        long rows = (arguments.Keys + Warps - 1) / Warps;
        int shared = sizeof(float) * ((inputs.DecaysChannels ? 3 : 2) * Warps * (int)rows + 2 * Warps * Columns);
        CudaRuntime.DeviceOf(value).Launch(new Variant(rows, inputs.Form, projected is not null), "delta_step",
            ((arguments.Values + Columns - 1) / Columns, arguments.Heads, inputs.Batch), Warps * 32, shared, arguments);
        GC.KeepAlive((state, query, key, value, decay, inputs, (output, before, counts)));
    }

    static Tensor Dense(Tensor x) => x.size(-1) == 1 || x.stride(-1) == 1 ? x : x.contiguous();
}
