using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cpu;

public class AttentionPiecesTests
{
    static void Matches(Tensor[] inputs, int? window = null, int sinks = 0, AttentionPositions? positions = null, long block = 16)
    {
        foreach (bool own in new[] { true, false })
            OperatorCheck.MatchesReference(
                given =>
                {
                    var pieces = AttentionPlan.Pieces(given[0]!, given[1]!, window, sinks, positions, block);
                    var all = new AttentionInputs(given[0]!, given[1]!, given[2]!)
                    {
                        Scale = 0.3, Window = window, Sinks = sinks, Positions = positions,
                    };
                    // what GPUs without a kernel of this library use
                    return own ? AttentionCpu.Apply(pieces, all) : PiecewiseAttention.Apply(pieces, all, long.MaxValue, FusedAttention.InOneCall);
                },
                given => AttentionReference.Forward(given[0]!, given[1]!, given[2]!, 0.3, window, sinks, positions), inputs);
    }

    static Tensor[] Inputs(int batch, int queries, int keys, int heads = 4, int sets = 2, int size = 8) =>
        [OperatorCheck.Normal(batch, queries, heads, size), OperatorCheck.Normal(batch, keys, sets, size),
            OperatorCheck.Normal(batch, keys, sets, size)];

    static Tensor Numbers(params long[][] rows) => tensor([.. rows.SelectMany(row => row)], [rows.Length, rows[0].Length]);

    [Theory]
    [InlineData(37, 37, 5, 0)]
    [InlineData(100, 100, 16, 3)]
    [InlineData(100, 100, 1, 0)]
    [InlineData(64, 131, 23, 40)]
    [InlineData(33, 97, null, 0)]
    [InlineData(17, 18, 7, 2)]
    [InlineData(80, 80, 9, 200)]
    public void Windows_sinks_and_earlier_keys_match_the_float64_reference(int queries, int keys, int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(11);
        Matches(Inputs(2, queries, keys), window, sinks);
        Matches(Inputs(1, queries, keys, heads: 3, sets: 3, size: 5), window, sinks, block: 7);
    }

    [Theory]
    [InlineData(null, 0)]
    [InlineData(9, 0)]
    [InlineData(9, 4)]
    public void Packed_documents_with_padding_match_the_float64_reference(int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(12);
        // rows of documents of 1 to 90 tokens, the last row padded; a padding query counts on and has no key
        long[][] lengths = [[3, 90, 1, 1, 20, 5], [70, 1, 29, 20], [33, 7, 50]];
        var layouts = lengths.Select(row =>
            row.SelectMany((count, document) => Enumerable.Range(0, (int)count).Select(i => (Position: (long)i, Document: (long)document))).ToList())
            .ToArray();
        foreach (var row in layouts)
            while (row.Count < 120) row.Add((row[^1].Position + 1, row[^1].Document));
        var queries = Numbers([.. layouts.Select(row => row.Select(token => token.Position).ToArray())]);
        var keys = Numbers([.. layouts.Select((row, i) => row.Select((token, column) => column < lengths[i].Sum() ? token.Position : -1).ToArray())]);
        var documents = Numbers([.. layouts.Select(row => row.Select(token => token.Document).ToArray())]);
        var positions = new AttentionPositions(queries, keys, documents, documents);
        Matches(Inputs(3, 120, 120), window, sinks, positions);
        Matches(Inputs(3, 120, 120, heads: 2, sets: 1), window, sinks, positions, block: 64);
    }

    [Theory]
    [InlineData(null, 0)]
    [InlineData(12, 3)]
    public void Rows_of_unequal_past_with_keys_in_any_order_match_the_float64_reference(int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(13);
        // row 0: 30 earlier tokens; row 1: none, and its last 8 queries are absent; keys lie in a ring that begins at 20
        var queries = Numbers([.. Enumerable.Range(30, 40).Select(i => (long)i)], [.. Enumerable.Range(0, 40).Select(i => i < 32 ? i : -1L)]);
        var keys = Numbers([.. Enumerable.Range(0, 75).Select(i => i < 70 ? (i + 20) % 70 : -1L)],
            [.. Enumerable.Range(0, 75).Select(i => i < 32 ? 31L - i : -1L)]);
        Matches(Inputs(2, 40, 75), window, sinks, new AttentionPositions(queries, keys));
    }

    [Fact]
    public void A_query_that_sees_nothing_gives_0_and_passes_no_gradient()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(14);
        var positions = new AttentionPositions(Numbers([0, 1, -1, 2, 50]), Numbers([0, 1, -1, 2, -1]));
        Tensor[] inputs = [.. Inputs(1, 5, 5).Select(input => input.requires_grad_())];
        var pieces = AttentionPlan.Pieces(inputs[0], inputs[1], 4, 0, positions, 16);
        var output = AttentionCpu.Apply(pieces, new(inputs[0], inputs[1], inputs[2]) { Scale = 0.3, Window = 4, Positions = positions });
        Autograd.Backward(output.sum());
        foreach (long blind in new[] { 2L, 4L })
        {
            Assert.Equal(0, output[0, blind].abs().max().item<double>());
            Assert.Equal(0, inputs[0].grad![0, blind].abs().max().item<double>());
        }
        Assert.True(inputs[0].grad!.isfinite().all().item<bool>() && inputs[1].grad!.isfinite().all().item<bool>());
    }

    [Fact]
    public void A_long_document_is_one_piece_without_a_mask_and_short_ones_share_a_piece()
    {
        using var scope = NewDisposeScope();
        long[] positions = [.. Enumerable.Range(0, 300).Select(i => (long)i), .. Enumerable.Range(0, 5).SelectMany(_ => new long[] { 0, 1, 2 })];
        long[] documents = [.. Enumerable.Repeat(0L, 300), .. Enumerable.Range(0, 15).Select(i => 1L + i / 3)];
        var (tokens, ids) = (Numbers(positions), Numbers(documents));
        var inputs = Inputs(1, 315, 315);
        var pieces = AttentionPlan.Pieces(inputs[0], inputs[1], null, 0, new(tokens, tokens, ids, ids), 128);
        Assert.Equal([(true, 300L), (false, 15L)], pieces.Select(piece => (piece.Causal, piece.Queries.Count)));
        Assert.Equal([new ColumnRange(300, 15)], pieces[1].Keys);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Memory_grows_linearly_with_length(bool window)
    {
        using var scope = NewDisposeScope();
        const int Length = 20_000, Document = 500;
        Tensor[] inputs = [.. Enumerable.Range(0, 3).Select(_ => zeros(1, Length, 2, 16).requires_grad_())];
        AttentionPositions? positions = null;
        if (!window)
        {
            var tokens = Numbers([.. Enumerable.Range(0, Length).Select(i => (long)i % Document)]);
            var documents = Numbers([.. Enumerable.Range(0, Length).Select(i => (long)i / Document)]);
            positions = new(tokens, tokens, documents, documents);
        }
        // a mask over all queries and keys alone takes 400 MB; the inputs and their gradients take 15 MB
        var grown = PeakMemory.Growth(
            () => Autograd.Backward(FusedAttention.Forward(inputs[0], inputs[1], inputs[2], window: window ? 64 : null, positions: positions).sum()));
        Assert.InRange(grown, 0, 200L << 20);
        Assert.All(inputs, input => Assert.True(input.grad is not null));
    }
}
