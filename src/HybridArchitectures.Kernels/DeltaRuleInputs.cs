using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the gated delta rule, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.GatedDeltaRule.Forward"/> and <see cref="Operators.GatedDeltaRule.Step"/>, or of
/// <see cref="Operators.ChannelDeltaRule"/>. The same names are used for the gradients. Without strengths, these are the inputs of
/// <see cref="Operators.LinearAttention"/>.
/// </summary>
sealed record DeltaRuleInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay, Tensor? Strength)
    : KeyedStateInputs(Query, Key, Value, Decay), ISavedTensors<DeltaRuleInputs>
{
    /// <summary>Gets whether each key channel has a separate decay.</summary>
    public bool DecaysChannels { get; init; }

    /// <summary>Gets the place of the gradient of the values if they are a slice; null for separate memory.</summary>
    public GradientSlice? ValueGradient { get; init; }

    /// <summary>
    /// Gets what a step computes from projections; null, the default, for inputs that are ready. With it, queries and keys have any length, and Decay
    /// and Strength are the same tensor, (B, L, G, parts): for each group, the strengths and then the time steps of its heads.
    /// </summary>
    public ProjectedDelta? Projected { get; init; }

    /// <summary>Gets which recurrence the kernels compute.</summary>
    public GatedDeltaForm Form => !DecaysChannels ? GatedDeltaForm.HeadDecays
        : Strength is null ? GatedDeltaForm.LinearAttention : GatedDeltaForm.ChannelDecays;

    /// <summary>Gets the tensors in which the operator is differentiable.</summary>
    public Tensor?[] Differentiable => [Query, Key, Value, Decay, Strength, InitialState];

    public DeltaRuleInputs Map(Func<Tensor?, Tensor?> replace) =>
        new(replace(Query)!, replace(Key)!, replace(Value)!, replace(Decay)!, replace(Strength))
        {
            InitialState = replace(InitialState), ChunkSize = ChunkSize, DecaysChannels = DecaysChannels,
            ValueGradient = ValueGradient, Projected = Projected,
        };

    /// <summary>Returns the inputs of some rows, without a layout.</summary>
    public DeltaRuleInputs Rows(long first, long count) =>
        first == 0 && count == Batch ? this : Map(tensor => tensor?.narrow(0, first, count));

    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public DeltaRuleInputs AsRows(Tensor state) =>
        new(Query.unsqueeze(1), Key.unsqueeze(1), Value.unsqueeze(1), Decay.unsqueeze(1), Strength?.unsqueeze(1))
        {
            InitialState = state, DecaysChannels = DecaysChannels,
        };

    protected override string KeyShape => "groups, key size";

    protected override void CheckTokens(string outerShape, ReadOnlySpan<long> outer)
    {
        string shapeOfKey = $"{outerShape}{KeyShape})", shapeOfHeads = $"{outerShape}heads)";
        long groups = SequenceChecks.Groups(Key.size(-2), Heads, "key", "heads");
        SequenceChecks.Input(Key, "key", Value, shapeOfKey, [.. outer, groups, KeySize]);
        SequenceChecks.Input(Query, "query", Value, shapeOfKey, [.. outer, groups, KeySize]);
        if (Projected is { } projected)
        {
            SequenceChecks.Input(Decay, "rates", Value, $"{outerShape}groups, rates)", [.. outer, groups, Heads / groups * projected.Parts]);
            return;
        }
        if (DecaysChannels) CheckKeyed(outerShape, outer, (Decay, "decay"));
        else SequenceChecks.Input(Decay, "decay", Value, shapeOfHeads, [.. outer, Heads]);
        SequenceChecks.Input(Strength!, "strength", Value, shapeOfHeads, [.. outer, Heads]);
    }
}
