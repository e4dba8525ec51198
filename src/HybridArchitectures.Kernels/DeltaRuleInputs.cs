using System.Numerics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the gated delta rule, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.GatedDeltaRule.Forward"/> and <see cref="Operators.GatedDeltaRule.Step"/>, or of
/// <see cref="Operators.ChannelDeltaRule"/>. The same names are used for the gradients.
/// </summary>
sealed record DeltaRuleInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay, Tensor Strength) : ISavedTensors<DeltaRuleInputs>
{
    public Tensor? InitialState { get; init; }

    public SequenceLayout? Layout { get; init; }

    /// <summary>Gets the number of tokens per chunk.</summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>Gets whether each key channel has a separate decay.</summary>
    public bool DecaysChannels { get; init; }

    /// <summary>Gets the tensors in which the operator is differentiable.</summary>
    public Tensor?[] Differentiable => [Query, Key, Value, Decay, Strength, InitialState];

    public long Batch => Value.size(0);

    public long Length => Value.size(1);

    public long Heads => Value.size(-2);

    public long KeySize => Key.size(-1);

    public long ValueSize => Value.size(-1);

    public DeltaRuleInputs Map(Func<Tensor?, Tensor?> replace) =>
        new(replace(Query)!, replace(Key)!, replace(Value)!, replace(Decay)!, replace(Strength)!)
        {
            InitialState = replace(InitialState), ChunkSize = ChunkSize, DecaysChannels = DecaysChannels,
        };

    /// <summary>Returns the inputs of some rows, without a layout.</summary>
    public DeltaRuleInputs Rows(long first, long count) =>
        first == 0 && count == Batch ? this : Map(tensor => tensor?.narrow(0, first, count));

    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public DeltaRuleInputs AsRows(Tensor state) =>
        new(Query.unsqueeze(1), Key.unsqueeze(1), Value.unsqueeze(1), Decay.unsqueeze(1), Strength.unsqueeze(1))
        {
            InitialState = state, DecaysChannels = DecaysChannels,
        };

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(Value, "value", "(batch, length, heads, value size)", 4);
        Check("(batch, length, ", Batch, Length);
        SequenceChecks.State(InitialState, "initialState", Value, "(batch, heads, key size, value size)", Batch, Heads, KeySize, ValueSize);
        SequenceChecks.Layout(Layout, Value);
        if (ChunkSize < 1 || !BitOperations.IsPow2(ChunkSize))
            throw Require.OutOfRange("chunkSize", ChunkSize, "a power of two");
    }

    /// <summary>Checks the inputs of one token per row, and the state. Exceptions name the argument.</summary>
    public void CheckToken(Tensor state)
    {
        SequenceChecks.Activations(Value, "value", "(batch, heads, value size)", 3);
        Check("(batch, ", Batch);
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), Value, "(batch, heads, key size, value size)", Batch, Heads, KeySize, ValueSize);
    }

    void Check(string outerShape, params ReadOnlySpan<long> outer)
    {
        string shapeOfKey = $"{outerShape}groups, key size)", shapeOfHeads = $"{outerShape}heads)";
        Require.Alive(Key, "key");
        if (Key.dim() != outer.Length + 2 || KeySize == 0)
            throw Require.Unfit("key", $"key has shape {Checks.Describe(Key)}", shapeOfKey);
        long groups = SequenceChecks.Groups(Key.size(-2), Heads, "key", "heads");
        SequenceChecks.Input(Key, "key", Value, shapeOfKey, [.. outer, groups, KeySize]);
        SequenceChecks.Input(Query, "query", Value, shapeOfKey, [.. outer, groups, KeySize]);
        if (DecaysChannels) SequenceChecks.Input(Decay, "decay", Value, $"{outerShape}heads, key size)", [.. outer, Heads, KeySize]);
        else SequenceChecks.Input(Decay, "decay", Value, shapeOfHeads, [.. outer, Heads]);
        SequenceChecks.Input(Strength, "strength", Value, shapeOfHeads, [.. outer, Heads]);
    }
}
