using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class RotaryTests
{
    static (Tensor Cosine, Tensor Sine) Table(long rows, long length, int rotated)
    {
        var positions = arange(rows * length, ScalarType.Int64).reshape(rows, length);
        return Rotary.Table(rows == 1 ? positions[0] : positions, Rotary.InverseFrequencies(rotated, 10_000));
    }

    [Theory]
    [InlineData(1, 1, 1, 2, 2, 1)]
    [InlineData(2, 7, 3, 16, 16, 1)]
    [InlineData(3, 5, 2, 20, 8, 3)]
    [InlineData(2, 9, 4, 33, 30, 2)]
    [InlineData(2, 65, 4, 64, 64, 1)]
    public void Gradients_match_float64_reference(int batch, int length, int heads, int size, int rotated, int tableRows)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var (cosine, sine) = Table(tableRows, length, rotated);
        OperatorCheck.MatchesReference(given => Rotary.Forward(given[0]!, cosine, sine), given => RotaryReference.Forward(given[0]!, cosine, sine),
            [OperatorCheck.Normal(batch, length, heads, size)], 1e-6);
    }

    [Fact]
    public void BFloat16_is_as_good_as_composed_operators()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var (cosine, sine) = Table(1, 17, 16);
        Tensor Composed(IReadOnlyList<Tensor?> given)
        {
            var (first, second, rest) = (given[0]!.narrow(3, 0, 8), given[0]!.narrow(3, 8, 8), given[0]!.narrow(3, 16, 8));
            var (cos, sin) = (cosine.unsqueeze(2).to(ScalarType.BFloat16), sine.unsqueeze(2).to(ScalarType.BFloat16));
            return cat([first * cos - second * sin, second * cos + first * sin, rest], -1);
        }
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            given => Rotary.Forward(given[0]!, cosine, sine), Composed, given => RotaryReference.Forward(given[0]!, cosine, sine),
            [OperatorCheck.Normal(2, 17, 3, 24)]);
    }

    [Fact]
    public void Scores_depend_on_distance_alone()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var frequencies = Rotary.InverseFrequencies(32, 500_000);
        var (q, k) = (randn(1, 1, 1, 32), randn(1, 1, 1, 32));
        float Score(long query, long key)
        {
            Tensor At(Tensor x, long position)
            {
                var (cosine, sine) = Rotary.Table(tensor(new[] { position }), frequencies);
                return Rotary.Forward(x, cosine, sine);
            }
            return (At(q, query) * At(k, key)).sum().item<float>();
        }
        Assert.Equal(Score(5, 2), Score(105, 102), 1e-4f);
        Assert.Equal(Score(5, 2), Score(131_005, 131_002), 1e-4f);
        Assert.NotEqual(Score(5, 2), Score(5, 3), 1e-3f);
        Assert.True(float.IsFinite(Score(-1, 3)));
    }

    [Fact]
    public void Frequencies_are_those_of_the_formula()
    {
        using var scope = NewDisposeScope();
        var values = Rotary.InverseFrequencies(8, 10_000).data<float>().ToArray();
        Assert.Equal([1f, 0.1f, 0.01f, 0.001f], values.Select(value => MathF.Round(value, 6)));
        // an odd part: the exponents of 5 channels, for three pairs
        Assert.Equal([1.0, Math.Pow(10, -0.8), Math.Pow(10, -1.6)],
            Rotary.InverseFrequencies(5, 100).data<float>().ToArray().Select(value => (double)value), (one, other) => Math.Abs(one - other) < 1e-7);
    }

    [Fact]
    public void Llama_3_scaling_slows_long_waves_keeps_short_ones_and_blends_between()
    {
        using var scope = NewDisposeScope();
        var scaling = new Llama3RotaryScaling(32, 1, 4, 8192);
        float[] plain = [.. Rotary.InverseFrequencies(64, 500_000).data<float>()],
            scaled = [.. Rotary.InverseFrequencies(64, 500_000, scaling).data<float>()];
        for (int j = 0; j < 32; j++)
        {
            // as published in transformers' form: by wavelength
            double wave = 2 * Math.PI / plain[j], smooth = (8192 / wave - 1) / (4 - 1);
            double expected = wave > 8192 ? plain[j] / 32 : wave < 2048 ? plain[j] : (1 - smooth) * plain[j] / 32 + smooth * plain[j];
            Assert.Equal(expected, scaled[j], 1e-6 * expected);
        }
        Assert.Equal(plain[0], scaled[0]);
        Assert.Equal(plain[31] / 32, scaled[31], 1e-12f);
        Assert.Contains(Enumerable.Range(0, 32), j => scaled[j] < plain[j] * 0.99f && scaled[j] > plain[j] / 31);
    }

    [Fact]
    public void Other_scalings_change_the_frequencies_as_their_formulas_say()
    {
        using var scope = NewDisposeScope();
        double[] Of(RotaryScaling? scaling, long length = 0) =>
            [.. Rotary.InverseFrequencies(8, 10_000, scaling, length: length).data<float>().Select(value => (double)value)];
        void Near(double[] expected, double[] actual) =>
            Assert.Equal(expected, actual, (one, other) => Math.Abs(one - other) <= 1e-6 * Math.Abs(one) + 1e-12);
        Near([0.25, 0.025, 0.0025, 0.00025], Of(new LinearRotaryScaling(4)));
        Near([0.5, 0.05, 0, 0], Of(new ProportionalRotaryScaling(2, 0.6)));
        // up to the original length nothing changes; at twice the length the base grows by (3 x 2 - 2)^(8 / 6)
        var dynamic = new DynamicRotaryScaling(3, 64);
        Near(Of(null), Of(dynamic, 64));
        double larger = 10_000 * Math.Pow(4, 8 / 6.0);
        Near([1, Math.Pow(larger, -0.25), Math.Pow(larger, -0.5), Math.Pow(larger, -0.75)], Of(dynamic, 128));
        var two = new LongRotaryScaling { ShortFactors = [1, 2, 4, 5], LongFactors = [2, 4, 8, 10], OriginalContextLength = 32 };
        Near([1, 0.05, 0.0025, 0.0002], Of(two, 32));
        Near([0.5, 0.025, 0.00125, 0.0001], Of(two, 33));
        // 64 turns of the wave per pair: 4 ln(1000 / (2 pi r)) / ln 10000; 3 and 0.1 turns are pairs 1.72 and 3.20, from 1 to 4 in whole ones
        var yarn = new YarnRotaryScaling { Factor = 8, OriginalContextLength = 1000, FastTurns = 3, SlowTurns = 0.1 };
        double Blended(double frequency, double slowed) => frequency * (slowed / 8 + 1 - slowed);
        Near([1, 0.1, Blended(0.01, 1 / 3.0), Blended(0.001, 2 / 3.0)], Of(yarn));
        double first = 4 * Math.Log(1000 / (6 * Math.PI)) / Math.Log(10_000), last = 4 * Math.Log(1000 / (0.2 * Math.PI)) / Math.Log(10_000);
        Near([1, 0.1, Blended(0.01, (2 - first) / (last - first)), Blended(0.001, (3 - first) / (last - first))],
            Of(yarn with { Truncate = false }));
        Assert.Equal((0.1 * Math.Log(8) + 1, 1.5), (yarn.Amplitude, (yarn with { AttentionFactor = 1.5 }).Amplitude));
    }

    [Fact]
    public void The_amplitude_multiplies_cosines_and_sines()
    {
        using var scope = NewDisposeScope();
        var (positions, frequencies) = (tensor(new long[] { 0, 3, 1000 }), Rotary.InverseFrequencies(8, 10_000));
        var (cosine, sine) = Rotary.Table(positions, frequencies);
        var (larger, wider) = Rotary.Table(positions, frequencies, 1.25);
        Assert.True((larger - cosine * 1.25).abs().max().item<float>() < 1e-6);
        Assert.True((wider - sine * 1.25).abs().max().item<float>() < 1e-6);
        Refusal.Expect("amplitude", "0", () => Rotary.Table(positions, frequencies, 0));
    }

    [Fact]
    public void Strided_input_equals_its_copy()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var (cosine, sine) = Table(2, 6, 8);
        var fused = randn(2, 6, 60);
        foreach (var x in new[] { fused.narrow(-1, 3, 40).unflatten(2, 4, 10), randn(2, 4, 6, 10).transpose(1, 2), randn(2, 6, 10, 4).transpose(2, 3),
            randn(1, 6, 4, 10).expand(2, 6, 4, 10) })
            Assert.True(Rotary.Forward(x, cosine, sine).equal(Rotary.Forward(x.clone(), cosine, sine)).all().item<bool>());
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var x = zeros(2, 3, 4, 8); var (cosine, sine) = Table(1, 3, 8);
        Refusal.Expect("rotaryDimensions", "0", () => Rotary.InverseFrequencies(0, 10));
        Refusal.Expect("theta", "0", () => Rotary.InverseFrequencies(8, 0));
        Refusal.Expect("scaling", "factor is 0.5", () => Rotary.InverseFrequencies(8, 10, new Llama3RotaryScaling(0.5, 1, 4, 8192)));
        Refusal.Expect("scaling", "highFrequencyFactor is 1", () => Rotary.InverseFrequencies(8, 10, new Llama3RotaryScaling(8, 1, 1, 8192)));
        Refusal.Expect("scaling", "originalContextLength is 0",
            () => Rotary.InverseFrequencies(8, 10, new Llama3RotaryScaling(8, 1, 4, 0)));
        Refusal.Expect("scaling", "factor is 0.5", () => Rotary.InverseFrequencies(8, 10, new LinearRotaryScaling(0.5)));
        Refusal.Expect("scaling", "fraction is 1.5", () => Rotary.InverseFrequencies(8, 10, new ProportionalRotaryScaling(1, 1.5)));
        Refusal.Expect("scaling", "2 rotated channels", () => Rotary.InverseFrequencies(2, 10, new DynamicRotaryScaling(2, 8)));
        Refusal.Expect("scaling", "fastTurns is 1",
            () => Rotary.InverseFrequencies(8, 10, new YarnRotaryScaling { Factor = 2, OriginalContextLength = 8, FastTurns = 1 }));
        Refusal.Expect("scaling", "longFactors is a list of 1; expected 4 factors", () => Rotary.InverseFrequencies(8, 10,
            new LongRotaryScaling { ShortFactors = [1, 1, 1, 1], LongFactors = [1], OriginalContextLength = 8 }));
        Refusal.Expect("positions", "Int32", () => Rotary.Table(zeros(3, ScalarType.Int32), zeros(4)));
        Refusal.Expect("positions", "(1, 1, 3)", () => Rotary.Table(zeros(1, 1, 3, ScalarType.Int64), zeros(4)));
        Refusal.Expect("x", "(2, 3, 8)", () => Rotary.Forward(zeros(2, 3, 8), cosine, sine));
        Refusal.Expect("cosine", "(1, 3, 4)", () => Rotary.Forward(zeros(2, 5, 4, 8), cosine, sine));
        Refusal.Expect("cosine", "(3, 3, 4)", () => Rotary.Forward(x, zeros(3, 3, 4), zeros(3, 3, 4)));
        Refusal.Expect("cosine", "5 pairs", () => Rotary.Forward(x, zeros(1, 3, 5), zeros(1, 3, 5)));
        Refusal.Expect("sine", "(1, 3, 3)", () => Rotary.Forward(x, cosine, zeros(1, 3, 3)));
    }
}
