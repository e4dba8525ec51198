using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Computes attention in pieces: libtorch's fused kernel for each piece of an <see cref="AttentionPlan"/>. Memory grows linearly with the length, for
/// windows and for packed documents, because no mask covers all queries and keys.
/// </summary>
static class AttentionCpu
{
    /// <summary>Computes softmax(scale * query key^T) value in pieces, with value as wide as query.</summary>
    public static Tensor Apply(IReadOnlyList<AttentionPiece> pieces, AttentionInputs inputs) =>
        Autograd.Apply<Saved>([inputs.Query, inputs.Key, inputs.Value], _ =>
        {
            var (output, logSums) = new Call(pieces, inputs).Forward();
            // the bounds are for kernels of GPUs
            var kept = inputs with { Positions = inputs.Positions is null ? null : inputs.Positions with { Bounds = null } };
            return ([output], new Saved(kept, output, logSums, pieces));
        }, static (context, saved) =>
            new Call(saved.Pieces, saved.Inputs).Backward(context.Gradients[0]!.contiguous(), saved.Output, saved.LogSums))[0];

    // LogSums: the logarithms of the sums of the softmax, shape (batch, queries, heads)
    sealed record Saved(AttentionInputs Inputs, Tensor Output, Tensor LogSums, IReadOnlyList<AttentionPiece> Pieces) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), replace(Output)!, replace(LogSums)!, Pieces);
    }

    // the fused kernel requires heads without gaps
    static Tensor Dense(Tensor x) => x.stride(-1) == 1 ? x : x.contiguous();

    sealed class Call(IReadOnlyList<AttentionPiece> pieces, AttentionInputs inputs)
    {
        readonly Tensor query = Dense(inputs.Query), key = Dense(inputs.Key), value = Dense(inputs.Value);
        readonly double scale = inputs.Scale;
        readonly int sinks = inputs.Sinks;
        readonly int? window = inputs.Window;
        readonly AttentionPositions? positions = inputs.Positions;
        readonly long shift = inputs.Key.size(1) - inputs.Query.size(1);
        (long, long, long, long) maskShape;
        PieceMask? mask;

        // the logarithms of the sums of the softmax have shape (batch, queries, heads)
        public (Tensor Output, Tensor LogSum) Forward()
        {
            var output = zeros([query.size(0), query.size(1), query.size(2), value.size(3)], query.dtype);
            var logSum = zeros([query.size(0), query.size(1), query.size(2)], SequenceChecks.StateType(query));
            foreach (var piece in pieces)
            {
                using var scope = NewDisposeScope();
                var cover = MaskOf(piece);
                var result = TorchOperator.CallMany("aten::_scaled_dot_product_flash_attention_for_cpu", "", 2,
                    Heads(piece.QueriesOf(query)), Heads(piece.KeysOf(key)), Heads(piece.KeysOf(value)), 0.0, piece.Causal,
                    OperatorArgument.Optional(cover.Hidden), OperatorArgument.Optional((double?)scale));
                var rows = Heads(result[0]);
                if (cover.Blind is { } blind) rows = rows.masked_fill(blind.unsqueeze(-1).unsqueeze(-1), Scalars.Zero);
                piece.QueriesOf(output).copy_(rows);
                piece.QueriesOf(logSum).copy_(Heads(result[1]));
            }
            return (output, logSum);
        }

        public Tensor?[] Backward(Tensor gradient, Tensor output, Tensor logSum)
        {
            // several pieces add to the gradient of a key, and sums in 16 bits would be rounded each time
            var sums = SequenceChecks.StateType(query);
            var dQuery = zeros(query.shape, query.dtype);
            var (dKey, dValue) = (zeros(key.shape, sums), zeros(value.shape, sums));
            foreach (var piece in pieces)
            {
                using var scope = NewDisposeScope();
                var cover = MaskOf(piece);
                var rows = piece.QueriesOf(gradient);
                if (cover.Blind is { } blind) rows = rows.masked_fill(blind.unsqueeze(-1).unsqueeze(-1), Scalars.Zero);
                var gradients = TorchOperator.CallMany("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "", 3,
                    Heads(rows), Heads(piece.QueriesOf(query)), Heads(piece.KeysOf(key)), Heads(piece.KeysOf(value)), Heads(piece.QueriesOf(output)),
                    Heads(piece.QueriesOf(logSum)), 0.0, piece.Causal, OperatorArgument.Optional(cover.Hidden),
                    OperatorArgument.Optional((double?)scale));
                piece.QueriesOf(dQuery).copy_(Heads(gradients[0]));
                piece.AddToKeys(dKey, Heads(gradients[1]));
                piece.AddToKeys(dValue, Heads(gradients[2]));
            }
            return [dQuery, CpuRows.As(dKey, key), CpuRows.As(dValue, value)];
        }

        // (batch, tokens, heads, ...) to (batch, heads, tokens, ...) and back
        static Tensor Heads(Tensor x) => x.transpose(1, 2);

        PieceMask MaskOf(AttentionPiece piece)
        {
            if (piece.Causal) return default;
            if (positions is not null) return Create(piece, piece.PositionsOf(positions, shift, CPU));
            // blocks in the middle of a sequence are identical
            long position = shift + piece.Queries.First;
            var main = piece.Keys[^1];
            var shape = (piece.Queries.Count, main.First - position, main.Count, piece.Keys.Count == 2 ? piece.Keys[0].Count : 0);
            bool aloof = main.First >= sinks;
            if (aloof && mask is { } same && shape == maskShape) return same;
            var made = Create(piece, piece.PositionsOf(null, shift, CPU));
            if (!aloof) return made;
            made.Hidden!.MoveToOuterDisposeScope();
            (maskShape, mask) = (shape, made);
            return made;
        }

        PieceMask Create(AttentionPiece piece, AttentionPositions places)
        {
            var hidden = AttentionReference.Visible(piece.Queries.Count, places.Key.size(1), window, sinks, places, CPU).squeeze(0).logical_not_();
            var blind = hidden.all(-1);
            bool any = blind.any().item<bool>();
            if (any) hidden = hidden.logical_and(blind.logical_not().unsqueeze(-1));
            var added = zeros([hidden.size(0), hidden.size(1)], query.dtype).masked_fill_(hidden, Scalars.MinusInfinity);
            return new(added, any ? blind.unsqueeze(0) : null);
        }
    }

    // Hidden: added to the scores, (queries, keys); Blind: the queries (1, queries) that see no key, if there are any
    readonly record struct PieceMask(Tensor? Hidden, Tensor? Blind);
}
