using HybridArchitectures.Training.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using AdamW = HybridArchitectures.Training.Optimization.AdamW;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Optimization;

public class AdamWTests
{
    static readonly AdamWOptions Options = new() { Beta1 = 0.9, Beta2 = 0.95, Epsilon = 1e-8, WeightDecay = 0.1 };

    // the formula in plain double arithmetic
    sealed class Plain(double[] value, bool decays)
    {
        readonly double[] first = new double[value.Length], second = new double[value.Length];
        int steps;

        public double[] Value => value;

        public void Step(double[] gradient, double rate)
        {
            steps++;
            for (int i = 0; i < value.Length; i++)
            {
                if (decays) value[i] -= rate * Options.WeightDecay * value[i];
                first[i] = Options.Beta1 * first[i] + (1 - Options.Beta1) * gradient[i];
                second[i] = Options.Beta2 * second[i] + (1 - Options.Beta2) * gradient[i] * gradient[i];
                double m = first[i] / (1 - Math.Pow(Options.Beta1, steps)), v = second[i] / (1 - Math.Pow(Options.Beta2, steps));
                value[i] -= rate * m / (Math.Sqrt(v) + Options.Epsilon);
            }
        }
    }

    static double[] Numbers(Tensor tensor) => tensor.detach().to(float64).flatten().data<double>().ToArray();

    [Theory]
    [InlineData(ScalarType.Float64, double.PositiveInfinity)]
    [InlineData(ScalarType.Float64, 1.0)]
    [InlineData(ScalarType.Float32, double.PositiveInfinity)]
    [InlineData(ScalarType.Float32, 1.0)]
    public void Steps_match_the_formula_with_and_without_decay_and_clipping(ScalarType type, double clip)
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(3);
        Parameter Make(params long[] shape) => new(randn(shape, float64, generator: generator).to(type));
        var a = Make(7, 5); var b = Make(13); var c = Make();
        using var optimizer = new AdamW([("a", a, true), ("b", b, false), ("c", c, true)], Options);
        var plain = new[] { new Plain(Numbers(a), true), new Plain(Numbers(b), false), new Plain(Numbers(c), true) };
        for (int step = 0; step < 30; step++)
        {
            var parameters = new[] { a, b, c };
            foreach (var p in parameters) p.grad = randn(p.shape, float64, generator: generator).to(type);
            double rate = 0.01 * (1 + step % 4);
            var gradients = parameters.Select(p => Numbers(p.grad!)).ToArray();
            double norm = Math.Sqrt(gradients.Sum(g => g.Sum(x => x * x)));
            double factor = Math.Min(1, clip / (norm + 1e-6));
            Assert.Equal(norm, optimizer.Step(rate, clip).item<float>(), norm * 1e-6);
            for (int i = 0; i < 3; i++) plain[i].Step(gradients[i].Select(g => g * factor).ToArray(), rate);
            Assert.All(parameters, p => Assert.Null(p.grad));
        }
        // float64: only the clip factor, kept in float32, is rounded; float32: one rounding of about 6e-8 per step and term
        double tolerance = type == ScalarType.Float64 ? double.IsInfinity(clip) ? 1e-12 : 1e-6 : 2e-6;
        foreach (var (tensor, expected) in new[] { a, b, c }.Zip(plain))
            foreach (var (got, want) in Numbers(tensor).Zip(expected.Value)) Assert.Equal(want, got, tolerance * Math.Max(1, Math.Abs(want)));
    }

    [Fact]
    public void A_small_gradient_is_not_scaled_by_clipping()
    {
        using var scope = NewDisposeScope();
        var clipped = new Parameter(ones(3)); var free = new Parameter(ones(3));
        using var first = new AdamW([("p", clipped, true)]); using var second = new AdamW([("p", free, true)]);
        for (int i = 0; i < 3; i++)
        {
            clipped.grad = full(3, 0.01f); free.grad = full(3, 0.01f);
            first.Step(0.1, clip: 1);
            second.Step(0.1);
        }
        Assert.Equal(Numbers(free), Numbers(clipped));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_step_with_a_bad_gradient_changes_nothing(float bad)
    {
        using var scope = NewDisposeScope();
        var a = new Parameter(rand(3)); var b = new Parameter(rand(3));
        using var optimizer = new AdamW([("a", a, true), ("b", b, false)]);
        a.grad = ones(3); b.grad = ones(3);
        optimizer.Step(0.1, 1);
        var before = optimizer.State.ToDictionary(item => item.Key, item => item.Value.clone());
        var (aBefore, bBefore) = (Numbers(a), Numbers(b));
        a.grad = tensor(new[] { 1, bad, 1 }); b.grad = ones(3);
        Assert.False(float.IsFinite(optimizer.Step(0.1, 1).item<float>()));
        Assert.Equal(aBefore, Numbers(a));
        Assert.Equal(bBefore, Numbers(b));
        foreach (var (name, value) in optimizer.State) Assert.Equal(Numbers(before[name]), Numbers(value));
    }

    [Fact]
    public void After_a_failed_step_none_counts_until_it_is_forgotten()
    {
        using var scope = NewDisposeScope();
        var p = new Parameter(ones(2));
        using var optimizer = new AdamW([("p", p, true)]);
        double[] Step(Tensor? watched = null)
        {
            p.grad = ones(2);
            optimizer.Step(0.1, 1, watched);
            return Numbers(p);
        }
        var first = Step(tensor(1f));
        Assert.False(optimizer.ReadFailed());
        Assert.Equal(first, Step(tensor(float.NaN)));
        Assert.True(optimizer.ReadFailed());
        Assert.Equal(first, Step(tensor(1f)));
        Assert.Equal(1, optimizer.ReadSteps());
        optimizer.ForgetFailure();
        Assert.NotEqual(first, Step(tensor(1f)));
        Assert.Equal(2, optimizer.ReadSteps());
    }

    [Fact]
    public void A_saved_state_continues_bit_for_bit()
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(5);
        var whole = new Parameter(rand(11)); var half = new Parameter(whole.detach().clone());
        var gradients = Enumerable.Range(0, 6).Select(_ => randn(11, generator: generator)).ToArray();
        using var straight = new AdamW([("p", whole, true)]); using var before = new AdamW([("p", half, true)]);
        using var after = new AdamW([("p", half, true)]);
        for (int i = 0; i < 6; i++)
        {
            whole.grad = gradients[i].clone(); half.grad = gradients[i].clone();
            straight.Step(0.1, 1);
            (i < 3 ? before : after).Step(0.1, 1);
            if (i == 2) after.Load((name, target) => target.copy_(before.State[name]));
        }
        Assert.Equal(Numbers(whole), Numbers(half));
    }

    [Fact]
    public void Parameters_without_gradient_or_frozen_stay()
    {
        using var scope = NewDisposeScope();
        var used = new Parameter(ones(2)); var unused = new Parameter(ones(2)); var frozen = new Parameter(ones(2), requires_grad: false);
        using var optimizer = new AdamW([("used", used, true), ("unused", unused, true), ("frozen", frozen, true)]);
        used.grad = ones(2);
        optimizer.Step(0.1);
        Assert.NotEqual([1, 1], Numbers(used));
        Assert.Equal([1, 1], Numbers(unused));
        Assert.DoesNotContain("first.frozen", optimizer.State.Keys);
        Assert.Contains("no parameter has a gradient", Assert.Throws<InvalidOperationException>(() => optimizer.Step(0.1)).Message);
    }

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        using var scope = NewDisposeScope();
        var p = new Parameter(ones(4));
        using var optimizer = new AdamW([("p", p, true)]);
        long after10 = 0;
        for (int i = 0; i < 60; i++)
        {
            using var inner = NewDisposeScope();
            p.grad = ones(4);
            optimizer.Step(0.1, 1);
            if (i == 10) after10 = LiveTensors.Settled();
        }
        Assert.True(Tensor.TotalCount <= after10, $"{after10} -> {Tensor.TotalCount}");
    }

    [Fact]
    public void Bad_arguments_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var p = new Parameter(ones(2, 2));
        void Refused(string name, Action action) => Assert.Equal(name, Assert.ThrowsAny<ArgumentException>(action).ParamName);
        Refused("parameters", () => new AdamW([]));
        Refused("parameters", () => new AdamW([("p", p, true), ("p", p, true)]));
        Refused("parameters", () => new AdamW([("p", new Parameter(ones(2).to(bfloat16)), true)]));
        Refused("parameters", () => new AdamW([("p", new Parameter(ones(2, 3).t()), true)]));
        Refused("Beta1", () => new AdamW([("p", p, true)], new AdamWOptions { Beta1 = 1 }));
        Refused("Epsilon", () => new AdamW([("p", p, true)], new AdamWOptions { Epsilon = 0 }));
        Refused("WeightDecay", () => new AdamW([("p", p, true)], new AdamWOptions { WeightDecay = double.NaN }));
        using var optimizer = new AdamW([("p", p, true)]);
        p.grad = ones(2, 2);
        foreach (double rate in new[] { -0.1, double.NaN, double.PositiveInfinity }) Refused("rate", () => optimizer.Step(rate));
        foreach (double clip in new[] { 0, -1, double.NaN }) Refused("clip", () => optimizer.Step(0.1, clip));
    }
}
