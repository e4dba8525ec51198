using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class FusedAttentionTests
{
    static Tensor[] Inputs(int batch, int queries, int keys, int heads, int sets, int size, int valueSize) =>
        [OperatorCheck.Normal(batch, queries, heads, size), OperatorCheck.Normal(batch, keys, sets, size),
            OperatorCheck.Normal(batch, keys, sets, valueSize)];

    static void Matches(Tensor[] inputs, double? scale = null, int? window = null, int sinks = 0, AttentionPositions? positions = null) =>
        OperatorCheck.MatchesReference(
            given => FusedAttention.Forward(given[0]!, given[1]!, given[2]!, scale, window, sinks, positions),
            given => AttentionReference.Forward(given[0]!, given[1]!, given[2]!, scale, window, sinks, positions), inputs);

    [Theory]
    [InlineData(8, 8, 16, 16)]
    [InlineData(8, 2, 16, 16)]
    [InlineData(6, 1, 12, 12)]
    [InlineData(4, 4, 8, 24)]
    [InlineData(4, 2, 24, 8)]
    [InlineData(3, 3, 7, 5)]
    public void Gradients_match_float64_reference_for_head_counts_and_sizes(int heads, int sets, int size, int valueSize)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Matches(Inputs(2, 19, 19, heads, sets, size, valueSize));
        Matches(Inputs(2, 5, 12, heads, sets, size, valueSize), scale: 0.3);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 128)]
    [InlineData(3, 64)]
    [InlineData(2, 1025)]
    [InlineData(64, 128)]
    [InlineData(113, 203)]
    [InlineData(239, 239)]
    [InlineData(300, 513)]
    public void Gradients_match_float64_reference_for_lengths(int queries, int keys)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Matches(Inputs(1, queries, keys, 2, 1, 16, 16));
        Matches(Inputs(1, queries, keys, 2, 1, 16, 16), window: 17);
        Matches(Inputs(1, queries, keys, 2, 1, 16, 16), window: 9, sinks: 4);
    }

    [Theory]
    [InlineData(1.5, false), InlineData(null, true), InlineData(4.0, true)]
    public void Capped_scores_and_sink_logits_are_those_of_the_formula(double? softcap, bool logits)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        var inputs = Inputs(1, 4, 6, 2, 1, 8, 4);
        var sinks = logits ? tensor(new[] { 0.4, -1.1 }) : null;
        var output = FusedAttention.Forward(inputs[0], inputs[1], inputs[2], scale: 0.9, softcap: softcap, sinkLogits: sinks);
        for (int head = 0; head < 2; head++)
            for (int query = 0; query < 4; query++)
            {
                double Score(int key)
                {
                    double score = 0.9 * (inputs[0][0][query][head] * inputs[1][0][key][0]).sum().item<double>();
                    return softcap is { } cap ? cap * Math.Tanh(score / cap) : score;
                }
                double[] weights = [.. Enumerable.Range(0, query + 3).Select(key => Math.Exp(Score(key)))];
                double total = weights.Sum() + (logits ? Math.Exp(sinks![head].item<double>()) : 0);
                for (int e = 0; e < 4; e++)
                    Assert.Equal(weights.Select((weight, key) => weight / total * inputs[2][0][key][0][e].item<double>()).Sum(),
                        output[0][query][head][e].item<double>(), 1e-12);
            }
        Assert.Equal(AttentionKernel.Math, FusedAttention.KernelFor(inputs[0], inputs[1], inputs[2], softcap: softcap, sinkLogits: sinks));
        Refusal.Expect("softcap", "softcap is 0", () => FusedAttention.Forward(inputs[0], inputs[1], inputs[2], softcap: 0));
        Refusal.Expect("sinkLogits", "(3)", () => FusedAttention.Forward(inputs[0], inputs[1], inputs[2], sinkLogits: zeros(3)));
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(3, 0)]
    [InlineData(3, 2)]
    [InlineData(16, 1)]
    [InlineData(40, 40)]
    [InlineData(1, 33)]
    public void Gradients_match_float64_reference_for_windows_and_sinks(int window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        Matches(Inputs(2, 33, 33, 4, 2, 8, 8), window: window, sinks: sinks);
        Matches(Inputs(2, 7, 33, 4, 2, 8, 16), window: window, sinks: sinks);
        Matches(Inputs(2, 1, 33, 4, 2, 8, 8), window: window, sinks: sinks);
    }

    [Fact]
    public void The_last_query_meets_the_last_key()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var (q, k, v) = (randn(1, 9, 2, 8), randn(1, 9, 2, 8), randn(1, 9, 2, 8));
        var whole = FusedAttention.Forward(q, k, v);
        OperatorCheck.Close(whole.narrow(1, 6, 3), FusedAttention.Forward(q.narrow(1, 6, 3), k, v), 1e-6, "the last three queries");
        OperatorCheck.Close(whole.narrow(1, 4, 1), FusedAttention.Forward(q.narrow(1, 4, 1), k.narrow(1, 0, 5), v.narrow(1, 0, 5)), 1e-6,
            "the fifth query");
    }

    // rows of documents [4, 1, 0, 6], [11], [2, 3] in a length of 12: positions restart, -1 at padding
    static AttentionPositions Packed()
    {
        long[] positions = [0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1, 0, 1, 0, 1, 2, -1, -1, -1, -1, -1, -1, -1];
        long[] documents = [0, 0, 0, 0, 1, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        var (p, d) = (tensor(positions).reshape(3, 12), tensor(documents).reshape(3, 12));
        return new AttentionPositions(p, p, d, d);
    }

    [Theory]
    [InlineData(null, 0)]
    [InlineData(3, 0)]
    [InlineData(2, 1)]
    public void Packed_documents_equal_separate_rows_in_output_and_gradients(int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var inputs = Inputs(3, 12, 12, 4, 2, 8, 8);
        var packed = Packed();
        Matches(inputs, window: window, sinks: sinks, positions: packed);
        Tensor Separately(IReadOnlyList<Tensor?> given)
        {
            var rows = new List<Tensor>();
            foreach (int[] lengths in new int[][] { [4, 1, 6], [11], [2, 3] })
            {
                long row = rows.Count, start = 0;
                var parts = new List<Tensor>();
                foreach (int length in lengths)
                {
                    Tensor Part(int i) => given[i]!.narrow(0, row, 1).narrow(1, start, length);
                    parts.Add(FusedAttention.Forward(Part(0), Part(1), Part(2), null, window, sinks));
                    start += length;
                }
                parts.Add(zeros([1, 12 - start, 4, 8], given[0]!.dtype));
                rows.Add(cat(parts, 1));
            }
            return cat(rows, 0);
        }
        OperatorCheck.MatchesReference(
            given => FusedAttention.Forward(given[0]!, given[1]!, given[2]!, null, window, sinks, packed), Separately, inputs);
    }

    [Fact]
    public void Ragged_caches_and_absent_keys_match_float64_reference()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        // three rows with 7, 0 and 3 tokens in a cache of 8, two new tokens each appended after the cache; the middle row's second is a pad
        long[] key = [0, 1, 2, 3, 4, 5, 6, -1, 7, 8, -1, -1, -1, -1, -1, -1, -1, -1, 0, -1, 0, 1, 2, -1, -1, -1, -1, -1, 3, 4];
        var positions = new AttentionPositions(tensor(new long[] { 7, 8, 0, -1, 3, 4 }).reshape(3, 2), tensor(key).reshape(3, 10));
        Matches(Inputs(3, 2, 10, 4, 2, 8, 8), positions: positions);
        Matches(Inputs(3, 2, 10, 4, 2, 8, 12), window: 2, sinks: 1, positions: positions);
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void A_query_without_keys_gives_zero_and_passes_no_gradient(ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        Tensor Leaf(params long[] size) => randn(size).to(type).requires_grad_();
        var (q, k, v) = (Leaf(2, 3, 2, 8), Leaf(2, 4, 2, 8), Leaf(2, 4, 2, 8));
        var positions = new AttentionPositions(
            tensor(new long[] { 0, -1, 3, -1, -1, -1 }).reshape(2, 3), tensor(new long[] { -1, 1, 2, 3, 0, 1, 2, 3 }).reshape(2, 4));
        var output = FusedAttention.Forward(q, k, v, positions: positions);
        Autograd.Backward(output.sum());
        double Sum(Tensor x) => x.to(ScalarType.Float64).abs().sum().item<double>();
        Assert.Equal(0, Sum(output[0, 0]) + Sum(output[0, 1]) + Sum(output[1]));
        Assert.NotEqual(0, Sum(output[0, 2]));
        Assert.Equal(0, Sum(q.grad![0, 0]) + Sum(q.grad![0, 1]) + Sum(q.grad![1]) + Sum(k.grad![1]) + Sum(v.grad![1]) + Sum(k.grad![0, 0])
            + Sum(v.grad![0, 0]));
        Assert.NotEqual(0, Sum(v.grad![0, 1]));
    }

    [Theory]
    [InlineData(8, 2, 32, 32, null)]
    [InlineData(4, 4, 16, 40, null)]
    [InlineData(4, 2, 32, 32, 13)]
    public void BFloat16_is_as_good_as_composed_operators(int heads, int sets, int size, int valueSize, int? window)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(8);
        Tensor Composed(IReadOnlyList<Tensor?> given)
        {
            var (q, k, v) = (given[0]!.transpose(1, 2), given[1]!.transpose(1, 2).repeat_interleave(heads / sets, 1),
                given[2]!.transpose(1, 2).repeat_interleave(heads / sets, 1));
            var hidden = AttentionReference.Visible(q.size(2), k.size(2), window, 0, null, CPU).logical_not();
            var scores = einsum("bhld,bhsd->bhls", q, k) * (1 / Math.Sqrt(size));
            return einsum("bhls,bhse->bhle", scores.masked_fill(hidden, double.NegativeInfinity).softmax(-1), v).transpose(1, 2);
        }
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            given => FusedAttention.Forward(given[0]!, given[1]!, given[2]!, window: window), Composed,
            given => AttentionReference.Forward(given[0]!, given[1]!, given[2]!, window: window), Inputs(2, 65, 65, heads, sets, size, valueSize));
    }

    [Fact]
    public void Strided_input_equals_its_copy()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(9);
        var fused = randn(2, 10, 6 * 8);                                    // queries of 4 heads, then one key and one value head
        Tensor Heads(long start, long heads) => fused.narrow(-1, start, heads * 8).unflatten(2, heads, 8);
        var (q, k, v) = (Heads(0, 4), Heads(32, 1), Heads(40, 1));
        foreach (int? window in new int?[] { null, 3 })
            Assert.True(FusedAttention.Forward(q, k, v, window: window).allclose(
                FusedAttention.Forward(q.clone(), k.clone(), v.clone(), window: window), 1e-6, 1e-6));
    }

    [Fact]
    public void Nothing_to_attend_to_gives_zeros()
    {
        using var scope = NewDisposeScope();
        Assert.Equal([0, 3, 2, 5], FusedAttention.Forward(zeros(0, 3, 2, 4), zeros(0, 3, 1, 4), zeros(0, 3, 1, 5)).shape);
        Assert.Equal([2, 0, 2, 5], FusedAttention.Forward(zeros(2, 0, 2, 4), zeros(2, 3, 1, 4), zeros(2, 3, 1, 5)).shape);
        var positions = new AttentionPositions(zeros(2, 3, ScalarType.Int64), zeros(2, 0, ScalarType.Int64));
        Assert.True(FusedAttention.Forward(ones(2, 3, 2, 4), zeros(2, 0, 1, 4), zeros(2, 0, 1, 5), positions: positions).eq(
            zeros(2, 3, 2, 5)).all().item<bool>());
    }

    [Theory]
    [InlineData(8, 8)]
    [InlineData(2, 8)]
    [InlineData(8, 16)]
    public void Memory_grows_with_the_length_and_not_with_its_square(int sets, int valueSize)
    {
        using var scope = NewDisposeScope();
        var (q, k, v) = (randn(1, 4096, 8, 8).requires_grad_(), randn(1, 4096, sets, 8).requires_grad_(),
            randn(1, 4096, sets, valueSize).requires_grad_());
        long peak = PeakMemory.Growth(() => Autograd.Backward(FusedAttention.Forward(q, k, v).sum()));
        Assert.True(peak < 200_000_000, $"grew by {peak / 1_000_000} MB");         // the scores alone: 8 x 4096 x 4096 x 4 bytes = 537 MB
    }

    [Fact]
    public void Steps_stay_right_under_continuous_garbage_collection()
    {
        using var outer = NewDisposeScope();
        using var random = manual_seed(10);
        var (q, k, v) = (randn(3, 12, 4, 8).requires_grad_(), randn(3, 12, 2, 8).requires_grad_(), randn(3, 12, 2, 12).requires_grad_());
        var packed = Packed();
        var table = Rotary.Table(arange(12, ScalarType.Int64), Rotary.InverseFrequencies(8, 10_000));
        Tensor?[] Step()
        {
            q.grad = null; k.grad = null; v.grad = null;
            Autograd.Backward(FusedAttention.Forward(
                Rotary.Forward(q, table.Cosine, table.Sine), Rotary.Forward(k, table.Cosine, table.Sine), v, window: 5, positions: packed).sum());
            return [q.grad, k.grad, v.grad];
        }
        var expected = Step().Select(gradient => gradient!.clone()).ToArray();
        OperatorCheck.UnderGarbageCollection(TimeSpan.FromSeconds(2), 6, () =>
        {
            using var scope = NewDisposeScope();
            var actual = Step();
            for (int i = 0; i < 3; i++) OperatorCheck.Close(expected[i], actual[i]!, 1e-6, $"gradient {i}");
        });
    }

    [Fact]
    public void The_kernel_that_libtorch_runs_can_be_queried()
    {
        using var scope = NewDisposeScope();
        var (q, k, v) = (rand(2, 5, 4, 8), rand(2, 5, 2, 8), rand(2, 5, 2, 6));
        Assert.Equal(AttentionKernel.Flash, FusedAttention.KernelFor(q, k, v));

        Assert.Equal(AttentionKernel.Flash, FusedAttention.KernelFor(q.to(ScalarType.Float64), k.to(ScalarType.Float64), v.to(ScalarType.Float64)));
        Refusal.Expect("window", "0", () => FusedAttention.KernelFor(q, k, v, window: 0));
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var (q, k, v) = (zeros(2, 3, 4, 8), zeros(2, 3, 2, 8), zeros(2, 3, 2, 6));
        var rows = zeros(2, 3, ScalarType.Int64);
        Refusal.Expect("query", "(3, 4, 8)", () => FusedAttention.Forward(q[0], k, v));
        Refusal.Expect("key", "(1, 3, 2, 8)", () => FusedAttention.Forward(q, k.narrow(0, 0, 1), v));
        Refusal.Expect("key", "(2, 3, 2, 7)", () => FusedAttention.Forward(q, k.narrow(3, 0, 7), v));
        Refusal.Expect("value", "(2, 2, 2, 6)", () => FusedAttention.Forward(q, k, v.narrow(1, 0, 2)));
        Refusal.Expect("key", "3 heads", () => FusedAttention.Forward(q, zeros(2, 3, 3, 8), zeros(2, 3, 3, 8)));
        Refusal.Expect("key", "2 tokens", () => FusedAttention.Forward(q, k.narrow(1, 0, 2), v.narrow(1, 0, 2)));
        Refusal.Expect("key", "BFloat16", () => FusedAttention.Forward(q, k.to(ScalarType.BFloat16), v));
        Refusal.Expect("query", "Int64", () => FusedAttention.Forward(q.to(ScalarType.Int64), k, v));
        Refusal.Expect("window", "0", () => FusedAttention.Forward(q, k, v, window: 0));
        Refusal.Expect("sinks", "-1", () => FusedAttention.Forward(q, k, v, window: 2, sinks: -1));
        Refusal.Expect("scale", "NaN", () => FusedAttention.Forward(q, k, v, scale: double.NaN));
        Refusal.Expect("positions.Query", "(2, 2)", () => FusedAttention.Forward(q, k, v, positions: new(rows.narrow(1, 0, 2), rows)));
        Refusal.Expect("positions", "positions.Key is Int32", () => FusedAttention.Forward(q, k, v, positions: new(rows, rows.to(ScalarType.Int32))));
        Refusal.Expect("positions", "both or neither", () => FusedAttention.Forward(q, k, v, positions: new(rows, rows, rows)));
    }
}
