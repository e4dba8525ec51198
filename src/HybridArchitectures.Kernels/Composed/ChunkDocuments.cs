using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>Contains what the tokens of chunks do not see, for N = chunks x batch x heads rows of Q tokens.</summary>
/// <param name="Hidden">
/// Whether an earlier token (second dimension) is invisible to a later one (first dimension), shape (1 or N, Q, Q), bool.
/// </param>
/// <param name="Fresh">
/// Whether a token does not see the state before its chunk, because a document starts in between, shape (N, Q), bool. Null means that all see it.
/// </param>
readonly record struct ChunkDocuments(Tensor Hidden, Tensor? Fresh)
{
    /// <summary>Returns the masks for a layout. Null means full rows of one document.</summary>
    public static ChunkDocuments From(SequenceLayout? layout, long chunks, long size, long heads, Device device)
    {
        var order = Indices.Range(0, size, device);
        var future = order.unsqueeze(1).lt(order.unsqueeze(0)).unsqueeze(0);
        if (layout?.Starts is not { } starts) return new(future, null);
        var document = starts.to(ScalarType.Int64).cumsum(1);
        long batch = document.size(0), length = document.size(1), missing = chunks * size - length;
        if (missing > 0) document = cat([document, document.narrow(1, length - 1, 1).expand(batch, missing)], 1);
        document = document.unflatten(1, chunks, size);                                                      // (B, C, Q)
        var before = cat([zeros([batch, 1], ScalarType.Int64, device), document.select(2, size - 1).narrow(1, 0, chunks - 1)], 1);
        Tensor PerHead(Tensor mask) => mask.transpose(0, 1).unsqueeze(2).expand([chunks, batch, heads, .. mask.shape[2..]]).flatten(0, 2);
        return new(future.logical_or(PerHead(document.unsqueeze(-1).ne(document.unsqueeze(-2)))), PerHead(document.ne(before.unsqueeze(-1))));
    }
}
