using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Reads the embeddings of tokens. If the embedding is also the weight of the head, the gradient of the tokens is added to that of the head in place,
/// in a <see cref="GradientCollection"/>. libtorch would write zeros for the whole vocabulary, and add them to the gradient of the head.
/// <para>
/// 1. Equal tokens get one place in a table of as many rows as there are tokens. The sums over equal tokens are libtorch's, in the same order.
/// 2. The table is added to the rows of its tokens. Rows of the table without a token are zero. The result has the bits of the sum of both gradients.
/// </para>
/// The number of different tokens stays on the device.
/// </summary>
static class TokenEmbedding
{
    // below this number of rows per token, a gradient of the whole vocabulary is small
    const long MinRowsPerToken = 2;

    sealed record Saved(Tensor Ids, long Rows, GradientCollection.Place Place) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => this with { Ids = replace(Ids)! };
    }

    /// <summary>Returns the rows of <paramref name="weight"/> (vocabulary, width) at <paramref name="ids"/> (..., int64).</summary>
    /// <param name="weight">The embeddings.</param>
    /// <param name="ids">The tokens.</param>
    /// <param name="paddingId">The token without a gradient. Null means none.</param>
    public static Tensor Forward(Tensor weight, Tensor ids, int? paddingId)
    {
        var place = OperatorOptions.Current.Gradients?.For(weight);
        if (place is null || paddingId is not null || ids.NumberOfElements == 0 || ids.NumberOfElements * MinRowsPerToken > weight.size(0))
            return Look(weight, ids, paddingId ?? -1);
        place.KeepsWhole = true;
        return Autograd.Apply<Saved>([weight], _ => ([Look(weight, ids, -1)], new(ids, weight.size(0), place)), static (context, saved) =>
        {
            var gradient = context.Gradients[0]!;
            if (saved.Place.Whole is not { } whole || whole.dtype != gradient.dtype) return [Gradient(gradient, saved.Ids, saved.Rows)];
            AddRows(whole, gradient.reshape(-1, whole.size(1)), saved.Ids.flatten());
            return [null];
        })[0];
    }

    static Tensor Look(Tensor weight, Tensor ids, long paddingId) => TorchOperator.Call("aten::embedding", "", weight, ids, paddingId, false, false);

    static Tensor Gradient(Tensor gradient, Tensor ids, long rows) =>
        TorchOperator.Call("aten::embedding_dense_backward", "", gradient, ids, rows, -1L, false);

    static void AddRows(Tensor whole, Tensor gradient, Tensor ids)
    {
        long tokens = ids.size(0);
        var (sorted, order) = ids.sort();
        // the place of each token: how many smaller tokens there are
        var isNew = sorted.narrow(0, 1, tokens - 1).ne(sorted.narrow(0, 0, tokens - 1));
        var places = cat([zeros([1], ScalarType.Int64, ids.device), isNew.cumsum(0)], 0);
        var table = Gradient(gradient, zeros_like(ids).scatter_(0, order, places), tokens);
        // rows of the table without a token are added to different rows of the vocabulary
        var targets = Indices.Range(0, tokens, ids.device).scatter_(0, places, sorted);
        whole.index_add_(0, targets, table, Scalars.One);
    }
}
