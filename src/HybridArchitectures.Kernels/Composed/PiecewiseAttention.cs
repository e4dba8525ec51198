using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes attention part by part with an operator that needs a mask or all scores of a part. Memory grows linearly with the length, also for
/// gradients: only the inputs are saved, and each part is computed again for its gradient.
/// </summary>
static class PiecewiseAttention
{
    /// <summary>Computes softmax(scale * query key^T) value.</summary>
    /// <param name="pieces">The pieces, which together contain every query that sees a key.</param>
    /// <param name="inputs">The inputs.</param>
    /// <param name="maxScores">
    /// The maximum number of scores of a part. Rows and key heads of a piece are separate parts if they would have more together.
    /// </param>
    /// <param name="compute">Computes the attention of a part, with gradients. It must not capture tensors.</param>
    /// <returns>The output, (batch, queries, heads, value head size).</returns>
    public static Tensor Apply(IReadOnlyList<AttentionPiece> pieces, AttentionInputs inputs, long maxScores, Func<AttentionInputs, Tensor> compute) =>
        Autograd.Apply<Saved>([inputs.Query, inputs.Key, inputs.Value, inputs.SinkLogits], _ =>
        {
            var (query, value) = (inputs.Query, inputs.Value);
            var output = zeros([query.size(0), query.size(1), query.size(2), value.size(3)], query.dtype, query.device);
            // the bounds are for kernels that read all positions
            var kept = inputs with { Positions = inputs.Positions is null ? null : inputs.Positions with { Bounds = null } };
            var saved = new Saved(kept, new(pieces, maxScores, compute));
            foreach (var part in Parts(saved))
            {
                using var scope = NewDisposeScope();
                part.QueriesOf(output).copy_(compute(part.Of(kept)));
            }
            return ([output], saved);
        }, static (context, saved) => Backward(saved, context))[0];

    /// <summary>Returns the inputs of a piece.</summary>
    public static AttentionInputs First(AttentionPiece piece, AttentionInputs inputs)
    {
        long sets = inputs.Key.size(2);
        var rows = piece.Row is { } row ? new ColumnRange(row, 1) : new(0, inputs.Query.size(0));
        return new Part(piece, rows, new(0, sets), inputs.Query.size(2) / sets).Of(inputs);
    }

    sealed record Plan(IReadOnlyList<AttentionPiece> Pieces, long MaxScores, Func<AttentionInputs, Tensor> Compute);

    sealed record Saved(AttentionInputs Inputs, Plan Plan) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Plan);
    }

    static IEnumerable<Part> Parts(Saved saved)
    {
        long batch = saved.Inputs.Query.size(0), sets = saved.Inputs.Key.size(2), heads = saved.Inputs.Query.size(2) / sets;
        foreach (var piece in saved.Plan.Pieces)
        {
            long setsAtOnce = Math.Clamp(saved.Plan.MaxScores / Math.Max(1, piece.Scores * heads), 1, sets);
            long rowsAtOnce = Math.Clamp(saved.Plan.MaxScores / Math.Max(1, piece.Scores * heads * setsAtOnce), 1, batch);
            var all = piece.Row is { } row ? new ColumnRange(row, 1) : new(0, batch);
            foreach (var rows in all.Divided(rowsAtOnce))
                foreach (var some in new ColumnRange(0, sets).Divided(setsAtOnce)) yield return new(piece, rows, some, heads);
        }
    }

    static Tensor?[] Backward(Saved saved, BackwardContext context)
    {
        var inputs = saved.Inputs;
        // several parts add to the gradient of a key, and sums in 16 bits would be rounded each time
        var wide = Precision.Wide(inputs.Query);
        Tensor? Sum(int input, Tensor? like) => context.Needs(input) ? zeros(like!.shape, wide, like.device) : null;
        var dQuery = context.Needs(0) ? zeros(inputs.Query.shape, inputs.Query.dtype, inputs.Query.device) : null;
        Tensor? dKey = Sum(1, inputs.Key), dValue = Sum(2, inputs.Value), dLogits = Sum(3, inputs.SinkLogits);
        foreach (var part in Parts(saved))
        {
            using var scope = NewDisposeScope();
            Tensor Leaf(Tensor x, int input) => x.detach().requires_grad_(context.Needs(input));
            var own = part.Of(inputs);
            own = own with
            {
                Query = Leaf(own.Query, 0), Key = Leaf(own.Key, 1), Value = Leaf(own.Value, 2),
                SinkLogits = own.SinkLogits is { } logits ? Leaf(logits, 3) : null,
            };
            using (enable_grad())
            {
                var output = saved.Plan.Compute(own);
                Autograd.Backward(output, part.QueriesOf(context.Gradients[0]!));
            }
            if (dQuery is not null) part.QueriesOf(dQuery).copy_(own.Query.grad!);
            if (dKey is not null) part.AddToKeys(dKey, own.Key.grad!);
            if (dValue is not null) part.AddToKeys(dValue, own.Value.grad!);
            if (dLogits is not null) part.HeadsOf(dLogits, 0).add_(own.SinkLogits!.grad!, Scalars.One);
        }
        return [dQuery, As(dKey, inputs.Key), As(dValue, inputs.Value), As(dLogits, inputs.SinkLogits)];
    }

    static Tensor? As(Tensor? sum, Tensor? like) => sum?.to(like!.dtype);

    /// <summary>Represents rows and key heads of a piece.</summary>
    readonly record struct Part(AttentionPiece Piece, ColumnRange Rows, ColumnRange Sets, long HeadsPerSet)
    {
        // a piece of one row among the rows of this part
        AttentionPiece Inner => Piece with { Row = null };

        Tensor RowsOf(Tensor x) => x.size(0) == 1 ? x : x.narrow(0, Rows.First, Rows.Count);

        public Tensor HeadsOf(Tensor x, int dimension) => x.narrow(dimension, Sets.First * HeadsPerSet, Sets.Count * HeadsPerSet);

        public Tensor QueriesOf(Tensor x) => HeadsOf(Inner.QueriesOf(RowsOf(x)), 2);

        Tensor KeyHeadsOf(Tensor x) => RowsOf(x).narrow(2, Sets.First, Sets.Count);

        public void AddToKeys(Tensor sum, Tensor gradient) => Inner.AddToKeys(KeyHeadsOf(sum), gradient);

        /// <summary>Returns the inputs of this part. Tokens have positions unless the piece is causal.</summary>
        public AttentionInputs Of(AttentionInputs all)
        {
            AttentionPositions? positions = null;
            if (!Piece.Causal)
            {
                var rows = all.Positions is { } given ? new AttentionPositions(RowsOf(given.Query), RowsOf(given.Key),
                    given.QueryDocuments is { } queries ? RowsOf(queries) : null, given.KeyDocuments is { } keys ? RowsOf(keys) : null) : null;
                positions = Inner.PositionsOf(rows, all.Key.size(1) - all.Query.size(1), all.Query.device);
            }
            return all with
            {
                Query = QueriesOf(all.Query), Key = Inner.KeysOf(KeyHeadsOf(all.Key)), Value = Inner.KeysOf(KeyHeadsOf(all.Value)),
                Positions = positions, Window = Piece.Causal ? null : all.Window,
                SinkLogits = all.SinkLogits is { } logits ? HeadsOf(logits, 0) : null,
            };
        }
    }
}
