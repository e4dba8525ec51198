using System.Numerics;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the generalized delta rule, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.GeneralizedDeltaRule.Forward"/> and <see cref="Operators.GeneralizedDeltaRule.Step"/>.
/// </summary>
sealed record GeneralizedDeltaInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay, Tensor Removal, Tensor Rate)
{
    public Tensor? InitialState { get; init; }

    public SequenceLayout? Layout { get; init; }

    /// <summary>Gets the number of tokens per chunk.</summary>
    public int ChunkSize { get; init; } = 16;

    public long Batch => Value.size(0);

    public long Length => Value.size(1);

    public long Heads => Value.size(-2);

    public long KeySize => Key.size(-1);

    public long ValueSize => Value.size(-1);

    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public GeneralizedDeltaInputs AsRows(Tensor state) =>
        new(Query.unsqueeze(1), Key.unsqueeze(1), Value.unsqueeze(1), Decay.unsqueeze(1), Removal.unsqueeze(1), Rate.unsqueeze(1))
        {
            InitialState = state,
        };

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(Value, "value", "(batch, length, heads, value size)", 4);
        Check("(batch, length, heads, key size)", Batch, Length);
        SequenceChecks.State(InitialState, "initialState", Value, "(batch, heads, key size, value size)", Batch, Heads, KeySize, ValueSize);
        SequenceChecks.Layout(Layout, Value);
        if (ChunkSize < 1 || !BitOperations.IsPow2(ChunkSize)) throw Require.OutOfRange("chunkSize", ChunkSize, "a power of two");
    }

    /// <summary>Checks the inputs of one token per row, and the state. Exceptions name the argument.</summary>
    public void CheckToken(Tensor state)
    {
        SequenceChecks.Activations(Value, "value", "(batch, heads, value size)", 3);
        Check("(batch, heads, key size)", Batch);
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), Value, "(batch, heads, key size, value size)", Batch, Heads, KeySize, ValueSize);
    }

    void Check(string shape, params ReadOnlySpan<long> outer)
    {
        Require.Alive(Key, "key");
        if (Key.dim() != outer.Length + 2 || KeySize == 0) throw Require.Unfit("key", $"key has shape {Checks.Describe(Key)}", shape);
        long[] expected = [.. outer, Heads, KeySize];
        SequenceChecks.Input(Key, "key", Value, shape, expected);
        SequenceChecks.Input(Query, "query", Value, shape, expected);
        SequenceChecks.Input(Decay, "decay", Value, shape, expected);
        SequenceChecks.Input(Removal, "removal", Value, shape, expected);
        SequenceChecks.Input(Rate, "rate", Value, shape, expected);
    }
}
