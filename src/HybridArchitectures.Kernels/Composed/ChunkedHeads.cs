using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Divides inputs into chunks of Q tokens, and joins the outputs of the chunks. The tensors of all chunks have N = chunks x batch x heads rows.
/// </summary>
sealed class ChunkedHeads(KeyedStateInputs inputs)
{
    readonly ScalarType type = SequenceChecks.StateType(inputs.Value);

    /// <summary>Gets the number Q of tokens per chunk.</summary>
    public long Size { get; } = Math.Min(inputs.ChunkSize, inputs.Length);

    /// <summary>Gets the number of chunks of a row.</summary>
    public long Count => (inputs.Length + Size - 1) / Size;

    long Rows => inputs.Batch * inputs.Heads;

    /// <summary>Returns what the tokens of the chunks do not see.</summary>
    public ChunkDocuments Documents() => ChunkDocuments.From(inputs.Layout, Count, Size, inputs.Heads, inputs.Value.device);

    /// <summary>
    /// Converts (batch, length, heads, ...) to (N, Q, ...) in the dtype of states, with zeros at padding and past the end, where nothing is
    /// forgotten, removed or written.
    /// </summary>
    public Tensor Divide(Tensor tensor) =>
        SequenceMasks.Chunked(tensor.to(type), inputs.Layout, Count, Size).transpose(2, 3).transpose(0, 1).flatten(0, 2);

    /// <summary>Converts (batch, length, groups, ...) to (N, Q, ...). Neighbouring heads share a group.</summary>
    public Tensor DivideGroups(Tensor tensor) => Divide(SequenceMasks.Spread(tensor, inputs.Heads));

    /// <summary>Returns a tensor (N, ...) as one tensor (batch x heads, ...) per chunk.</summary>
    public Tensor[] PerChunk(Tensor tensor) => tensor.unflatten(0, Count, Rows).unbind(0);

    /// <summary>Returns the state before the first token, (batch x heads, key size, value size).</summary>
    public Tensor InitialState() =>
        inputs.InitialState?.to(type).flatten(0, 1) ?? zeros([Rows, inputs.KeySize, inputs.ValueSize], type, inputs.Value.device);

    /// <summary>Joins the outputs of the chunks, (batch x heads, Q, value size), and moves the results to the outer dispose scope.</summary>
    public (Tensor Output, Tensor FinalState) Join(Tensor[] outputs, Tensor state)
    {
        var output = stack(outputs, 0).unflatten(1, inputs.Batch, inputs.Heads).permute(1, 0, 3, 2, 4)
            .flatten(1, 2).narrow(1, 0, inputs.Length);                                                      // (B, L, H, V)
        output = SequenceMasks.WithoutPads(output, inputs.Layout).to(inputs.Value.dtype).contiguous();
        return (output.MoveToOuterDisposeScope(), state.unflatten(0, inputs.Batch, inputs.Heads).MoveToOuterDisposeScope());
    }
}
