using System.Numerics;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of linear attention, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.LinearAttention.Forward"/> and <see cref="Operators.LinearAttention.Step"/>.
/// </summary>
sealed record LinearAttentionInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay)
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
    public LinearAttentionInputs AsRows(Tensor state) =>
        new(Query.unsqueeze(1), Key.unsqueeze(1), Value.unsqueeze(1), Decay.unsqueeze(1)) { InitialState = state };

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
        SequenceChecks.Input(Key, "key", Value, shape, [.. outer, Heads, KeySize]);
        SequenceChecks.Input(Query, "query", Value, shape, [.. outer, Heads, KeySize]);
        SequenceChecks.Input(Decay, "decay", Value, shape, [.. outer, Heads, KeySize]);
    }
}
