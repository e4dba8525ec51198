using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Tests decoding over a cache. The reference is compared with attention over each row alone, and the composed form with the reference.
/// </summary>
public sealed class AttentionDecodeTests
{
    static Tensor Int32(params int[] values) => tensor(values, ScalarType.Int32);

    static (Tensor Query, Tensor Keys, Tensor Values) Inputs(long batch, long queries, long capacity, long heads, long keyHeads, long size,
        long valueSize) =>
        (OperatorCheck.Normal(batch, queries, heads, size), OperatorCheck.Normal(batch, capacity, keyHeads, size),
            OperatorCheck.Normal(batch, capacity, keyHeads, valueSize));

    [Theory]
    [InlineData(1, null, 0), InlineData(3, null, 0), InlineData(1, 7, 0), InlineData(4, 7, 3), InlineData(8, 1, 2)]
    public void A_rows_result_is_attention_over_the_row_alone(int queries, int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        using var noGrad = no_grad();
        var (query, keys, values) = Inputs(4, queries, 40, 6, 2, 12, 20);
        int[] lengths = [40, 8, 23, 31];
        foreach (bool composed in new[] { true, false })
        {
            var output = composed
                ? AttentionDecode.Forward(query, keys, values, Int32(lengths), window: window, sinks: sinks)
                : AttentionDecodeReference.Forward(query, keys, values, Int32(lengths), window: window, sinks: sinks);
            for (int row = 0; row < 4; row++)
            {
                Tensor Row(Tensor cache) => cache.narrow(0, row, 1).narrow(1, 0, lengths[row]);
                var alone = AttentionReference.Forward(query.narrow(0, row, 1), Row(keys), Row(values), window: window, sinks: sinks);
                OperatorCheck.Close(alone, output.narrow(0, row, 1), 1e-12, $"row {row}");
            }
        }
    }

    [Fact]
    public void Slots_past_the_length_of_a_row_change_nothing()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        using var noGrad = no_grad();
        var (query, keys, values) = Inputs(2, 2, 30, 4, 2, 8, 8);
        var lengths = Int32(11, 30);
        var expected = AttentionDecodeReference.Forward(query, keys, values, lengths);
        foreach (var cache in new[] { keys, values }) cache[0].narrow(0, 11, 19).fill_(Scalars.From(double.NaN));
        Assert.True(AttentionDecodeReference.Forward(query, keys, values, lengths).Equals(expected));
    }

    [Fact]
    public void A_row_without_tokens_and_queries_before_its_first_token_give_zeros()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (query, keys, values) = Inputs(2, 3, 10, 2, 1, 8, 8);
        foreach (var output in new[] { AttentionDecode.Forward(query, keys, values, Int32(0, 1)),
            AttentionDecodeReference.Forward(query, keys, values, Int32(0, 1)) })
        {
            Assert.True(output[0].eq(Scalars.Zero).all().item<bool>());
            Assert.True(output[1].narrow(0, 0, 2).eq(Scalars.Zero).all().item<bool>());
            OperatorCheck.Close(values[1][0].expand(2, 8), output[1][2], 1e-12, "the only visible value");
        }
    }

    [Theory]
    [InlineData(1, 0), InlineData(1, 5), InlineData(4, 5)]
    public void A_ring_returns_the_same_as_a_cache_of_all_positions(int queries, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        using var noGrad = no_grad();
        const int Window = 9;
        int capacity = sinks + Window + queries - 1;
        var (query, keys, values) = Inputs(3, queries, 60, 4, 2, 8, 16);
        int[] lengths = [60, queries, sinks + 4];
        Tensor Empty(long size) => full([3, capacity, 2, size], double.NaN, ScalarType.Float64);
        var (ringKeys, ringValues) = (Empty(8), Empty(16));
        for (int row = 0; row < 3; row++)
            for (int position = 0; position < lengths[row]; position++)
            {
                int slot = position < sinks ? position : sinks + (position - sinks) % (capacity - sinks);
                ringKeys[row][slot] = keys[row][position];
                ringValues[row][slot] = values[row][position];
            }
        var expected = AttentionDecodeReference.Forward(query, keys, values, Int32(lengths), window: Window, sinks: sinks);
        var reference = AttentionDecodeReference.Forward(query, ringKeys, ringValues, Int32(lengths), window: Window, sinks: sinks, ring: true);
        OperatorCheck.Close(expected, reference, 1e-12, "the reference");
        // libtorch's operators multiply hidden values by 0
        var composed = AttentionDecode.Forward(query, ringKeys.nan_to_num(0), ringValues.nan_to_num(0), Int32(lengths), window: Window, sinks: sinks,
            ring: true);
        OperatorCheck.Close(expected, composed, 1e-12, "the composed form");
    }

    [Fact]
    public void Caps_and_sink_logits_are_those_of_the_formula()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var noGrad = no_grad();
        var (query, keys, values) = Inputs(1, 1, 5, 2, 2, 4, 4);
        var logits = tensor(new[] { 0.3, -1.2 });
        var output = AttentionDecode.Forward(query, keys, values, Int32(5), scale: 2, softcap: 1.5, sinkLogits: logits);
        for (int head = 0; head < 2; head++)
        {
            double Product(int key) => (query[0][0][head] * keys[0][key][head]).sum().item<double>();
            double[] scores = [.. Enumerable.Range(0, 5).Select(key => 1.5 * Math.Tanh(2 * Product(key) / 1.5))];
            double total = scores.Sum(Math.Exp) + Math.Exp(logits[head].item<double>());
            for (int e = 0; e < 4; e++)
                Assert.Equal(Enumerable.Range(0, 5).Sum(j => Math.Exp(scores[j]) / total * values[0][j][head][e].item<double>()),
                    output[0][0][head][e].item<double>(), 1e-12);
        }
    }

    [Fact]
    public void Wrong_arguments_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var (query, keys, values) = Inputs(2, 1, 10, 4, 2, 8, 8);
        var lengths = Int32(3, 4);
        void IsRefused(string message, Action action) =>
            Assert.StartsWith(message, Assert.ThrowsAny<ArgumentException>(action).Message, StringComparison.Ordinal);
        IsRefused("query has 9 queries per row", () => AttentionDecode.Forward(zeros(2, 9, 4, 8, ScalarType.Float64), keys, values, lengths));
        IsRefused("keys has shape (2, 10, 2, 6)", () => AttentionDecode.Forward(query, keys.narrow(3, 0, 6), values, lengths));
        IsRefused("keys has 2 heads", () => AttentionDecode.Forward(query.narrow(2, 0, 3), keys, values, lengths));
        IsRefused("values is Float32", () => AttentionDecode.Forward(query, keys, values.to(ScalarType.Float32), lengths));
        IsRefused("lengths is Int64", () => AttentionDecode.Forward(query, keys, values, lengths.to(ScalarType.Int64)));
        IsRefused("lengths has shape (1)", () => AttentionDecode.Forward(query, keys, values, Int32(3)));
        IsRefused("scale is 0", () => AttentionDecode.Forward(query, keys, values, lengths, scale: 0));
        IsRefused("softcap is -1", () => AttentionDecode.Forward(query, keys, values, lengths, softcap: -1));
        IsRefused("window is 0", () => AttentionDecode.Forward(query, keys, values, lengths, window: 0));
        IsRefused("sinks is -1", () => AttentionDecode.Forward(query, keys, values, lengths, sinks: -1));
        IsRefused("window is null", () => AttentionDecode.Forward(query, keys, values, lengths, ring: true));
        IsRefused("keys has 10 slots; expected at least sinks + window + queries - 1 = 11", () =>
            AttentionDecode.Forward(query, keys, values, lengths, window: 8, sinks: 3, ring: true));
        IsRefused("sinkLogits has shape (2)", () => AttentionDecode.Forward(query, keys, values, lengths, sinkLogits: zeros(2)));
        IsRefused("query requires a gradient", () => AttentionDecode.Forward(query.requires_grad_(), keys, values, lengths));
    }
}
