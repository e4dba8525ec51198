using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of an operator whose heads have a state of K x V numbers each, for whole rows or for one token per row. Queries read the
/// state, and keys and values write it.
/// </summary>
abstract record KeyedStateInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay)
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

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(Value, "value", "(batch, length, heads, value size)", 4);
        CheckKey("(batch, length, ", Batch, Length);
        SequenceChecks.State(InitialState, "initialState", Value, "(batch, heads, key size, value size)", Batch, Heads, KeySize, ValueSize);
        SequenceChecks.Layout(Layout, Value);
        Require.PowerOfTwo(ChunkSize, "chunkSize");
    }

    /// <summary>Checks the inputs of one token per row, and the state. Exceptions name the argument.</summary>
    public void CheckToken(Tensor state)
    {
        SequenceChecks.Activations(Value, "value", "(batch, heads, value size)", 3);
        CheckKey("(batch, ", Batch);
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), Value, "(batch, heads, key size, value size)", Batch, Heads, KeySize, ValueSize);
    }

    void CheckKey(string outerShape, params ReadOnlySpan<long> outer)
    {
        Require.Alive(Key, "key");
        if (Key.dim() != outer.Length + 2 || KeySize == 0)
            throw Require.Unfit("key", $"key has shape {Checks.Describe(Key)}", $"{outerShape}{KeyShape})");
        CheckTokens(outerShape, outer);
    }

    /// <summary>Gets the names of the last two dimensions of the keys.</summary>
    protected virtual string KeyShape => "heads, key size";

    /// <summary>Checks queries, keys and all further inputs of tokens, whose first sizes are <paramref name="outer"/>.</summary>
    protected abstract void CheckTokens(string outerShape, ReadOnlySpan<long> outer);

    /// <summary>Checks inputs of the shape (..., heads, key size).</summary>
    protected void CheckKeyed(string outerShape, ReadOnlySpan<long> outer, params ReadOnlySpan<(Tensor Tensor, string Name)> inputs)
    {
        foreach (var (tensor, name) in inputs)
            SequenceChecks.Input(tensor, name, Value, $"{outerShape}heads, key size)", [.. outer, Heads, KeySize]);
    }
}
