using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Training.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using AdamW = HybridArchitectures.Training.Optimization.AdamW;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Optimization;

public class MuonTests
{
    static ModelParameter Matrix(string name, Tensor value, int headRows = 0, params int[] parts)
    {
        if (parts.Length == 0) parts = [(int)value.size(-2)];
        return new(name, new Parameter(value), true) { Matrix = new(parts, headRows) };
    }

    static double[] Numbers(Tensor tensor) => tensor.detach().to(float64).contiguous().flatten().data<double>().ToArray();

    // the orthogonal factor by a singular value decomposition
    static Tensor Factor(Tensor matrix)
    {
        var (u, _, v) = linalg.svd(matrix, fullMatrices: false);
        return u.matmul(v);
    }

    static Tensor WithSpectrum(long rows, long columns, Generator generator, double minSingular)
    {
        var (u, _, v) = linalg.svd(randn([rows, columns], float64, generator: generator), fullMatrices: false);
        long rank = Math.Min(rows, columns);
        return (u * logspace(0, Math.Log10(minSingular), rank, dtype: float64)).matmul(v);
    }

    [Theory]
    [InlineData(Orthogonalization.PolarExpress, 5, 1e-2, 0.13)]
    [InlineData(Orthogonalization.PolarExpress, 8, 1e-3, 1e-3)]
    [InlineData(Orthogonalization.NewtonSchulz, 5, 1e-1, 0.35)]
    public void Iterations_approach_the_orthogonal_factor(Orthogonalization method, int iterations, double minSingular, double tolerance)
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(1);
        foreach (var (rows, columns) in new[] { (12L, 12L), (8L, 20L), (20L, 8L) })
        {
            var matrix = WithSpectrum(rows, columns, generator, minSingular);
            var factor = PolarFactor.Compute(matrix.unsqueeze(0), method, iterations)[0];
            var singular = linalg.svdvals(factor);
            Assert.InRange(singular.min().item<double>(), 1 - tolerance, 1 + tolerance);
            Assert.InRange(singular.max().item<double>(), 1 - tolerance, 1 + tolerance);
            // the singular vectors stay
            Assert.True((factor - Factor(matrix)).norm().item<double>() <= tolerance * Math.Sqrt(Math.Min(rows, columns)));
        }
    }

    [Fact]
    public void A_matrix_of_zeros_has_no_update()
    {
        using var scope = NewDisposeScope();
        Assert.Equal(0, PolarFactor.Compute(zeros([1, 4, 6], float64), Orthogonalization.PolarExpress, 5).abs().max().item<double>());
    }

    [Theory]
    [InlineData(true, double.PositiveInfinity, true)]
    [InlineData(true, double.PositiveInfinity, false)]
    [InlineData(false, 1.0, true)]
    public void Steps_match_the_formula(bool nesterov, double clip, bool equalNorms)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var generator = new Generator(3);
        // eight iterations, so that the factor is that of the decomposition
        var options = new MuonOptions { Nesterov = nesterov, Iterations = 8, UpdateScale = 0.3, EqualNorms = equalNorms };
        var wide = Matrix("wide", randn([4, 9], float64, generator: generator));
        var experts = Matrix("experts", randn([2, 6, 5], float64, generator: generator));
        var bias = new ModelParameter("bias", new Parameter(randn([7], float64, generator: generator)), false);
        var all = new[] { wide, experts, bias };
        using var muon = new Muon(all, options);
        var values = all.Select(item => item.Value.clone()).ToArray();
        var means = values.Select(value => zeros_like(value)).ToArray();
        for (int step = 0; step < 4; step++)
        {
            var gradients = values.Select(value => randn(value.shape, float64, generator: generator)).ToArray();
            foreach (var (item, gradient) in all.Zip(gradients)) item.Value.grad = gradient.clone();
            double rate = 0.02 * (1 + step), norm = Math.Sqrt(gradients.Sum(g => g.square().sum().item<double>()));
            double factor = Math.Min(1, clip / (norm + 1e-6));
            Assert.Equal(norm, muon.Step(rate, clip).item<float>(), norm * 1e-6);
            for (int i = 0; i < 2; i++)
            {
                var g = gradients[i] * factor;
                means[i] = means[i] * options.Momentum + g * (1 - options.Momentum);
                var u = nesterov ? g * (1 - options.Momentum) + means[i] * options.Momentum : means[i];
                double size = options.UpdateScale * Math.Sqrt(Math.Max(u.size(-2), u.size(-1)));
                values[i] = values[i] * (1 - rate * options.WeightDecay) - (equalNorms ? Equal(Factor(u)) : Factor(u)) * rate * size;
            }
        }
        // the polynomials end within 1e-4 of orthogonal for these spectra; the clip factor is kept in float32
        foreach (var (item, expected) in all.Zip(values).Take(2))
        {
            double error = (item.Value - expected).abs().max().item<double>();
            Assert.True(error < 2e-4, $"{item.Name}: {error}");
        }
    }

    // both kinds of vectors of the longer side: 9 columns of (4, 9), and 6 rows of (2, 6, 5)
    static Tensor Equal(Tensor factor)
    {
        var norms = factor.norm(factor.size(-2) > factor.size(-1) ? -1 : -2, keepdim: true);
        return factor / norms * Math.Sqrt((double)Math.Min(factor.size(-2), factor.size(-1)) / Math.Max(factor.size(-2), factor.size(-1)));
    }

    [Fact]
    public void A_neuron_without_a_gradient_does_not_move()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var item = Matrix("p", zeros([6, 4], float64));
        using var muon = new Muon([item]);
        item.Value.grad = cat([randn([5, 4], float64, generator: new Generator(5)), zeros([1, 4], float64)], 0);
        muon.Step(1);
        Assert.Equal(0, item.Value[5].abs().max().item<double>());
        Assert.True(item.Value[0].abs().max().item<double>() > 0.1);
    }

    [Fact]
    public void Other_parameters_are_updated_by_AdamW()
    {
        using var scope = NewDisposeScope();
        var (mine, theirs) = (new Parameter(ones(5)), new Parameter(ones(5)));
        using var muon = new Muon([new ModelParameter("p", mine, true)]);
        using var adam = new AdamW([("p", theirs, true)]);
        for (int i = 0; i < 3; i++)
        {
            (mine.grad, theirs.grad) = (full(5, 0.3f), full(5, 0.3f));
            muon.Step(0.1, 0.5);
            adam.Step(0.1, 0.5);
        }
        Assert.Equal(Numbers(theirs), Numbers(mine));
    }

    [Fact]
    public void Parts_and_heads_of_a_projection_are_separate_matrices()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var generator = new Generator(7);
        var gradient = randn([12, 10], float64, generator: generator);
        Tensor Change(MuonOptions options, params int[] parts)
        {
            var item = Matrix("p", zeros([12, 10], float64), headRows: 4, parts);
            using var muon = new Muon([item], options with { WeightDecay = 0 });
            item.Value.grad = gradient.clone();
            muon.Step(1);
            return item.Value;
        }
        Tensor Alone(long first, long rows)
        {
            var item = Matrix("p", zeros([rows, 10], float64));
            using var muon = new Muon([item], new MuonOptions { WeightDecay = 0 });
            item.Value.grad = gradient.narrow(0, first, rows).clone();
            muon.Step(1);
            return item.Value;
        }
        var heads = cat([Alone(0, 4), Alone(4, 4), Alone(8, 4)], 0);
        Assert.Equal(0, (Change(new() { PerHead = true }, 12) - heads).abs().max().item<double>(), 1e-12);
        Assert.Equal(0, (Change(new() { PerHead = false }, 4, 8) - cat([Alone(0, 4), Alone(4, 8)], 0)).abs().max().item<double>(), 1e-12);
        Assert.True((Change(new() { PerHead = false }, 12) - heads).abs().max().item<double>() > 0.01);
    }

    [Fact]
    public void Parts_of_rows_that_are_ordered_by_head_are_separate_matrices()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var generator = new Generator(7);
        // two heads of 2 queries, 2 keys and 3 values
        var gradient = randn([14, 10], float64, generator: generator);
        Tensor Change(Tensor of, MatrixLayout layout, bool perHead = false)
        {
            var item = new ModelParameter("p", new Parameter(zeros(of.shape, float64)), true) { Matrix = layout };
            using var muon = new Muon([item], new MuonOptions { WeightDecay = 0, PerHead = perHead });
            item.Value.grad = of.clone();
            muon.Step(1);
            return item.Value;
        }
        Tensor Alone(params int[] rows)
        {
            var some = gradient.index_select(0, tensor(rows));
            return Change(some, new([rows.Length]));
        }
        var layout = new MatrixLayout([2, 2, 3]) { Repeats = 2 };
        var whole = Change(gradient, layout);
        foreach (int[] part in new int[][] { [0, 1, 7, 8], [2, 3, 9, 10], [4, 5, 6, 11, 12, 13] })
            Assert.Equal(0, (whole.index_select(0, tensor(part)) - Alone(part)).abs().max().item<double>(), 1e-12);
        Assert.Equal(0, (Change(gradient, layout, perHead: true).narrow(0, 4, 3) - Alone(4, 5, 6)).abs().max().item<double>(), 1e-12);
    }

    [Fact]
    public void Other_parameters_can_have_a_multiple_of_the_rate()
    {
        using var scope = NewDisposeScope();
        var (mine, theirs) = (new Parameter(ones(5)), new Parameter(ones(5)));
        using var muon = new Muon([new ModelParameter("p", mine, true)], new MuonOptions { OthersRate = 0.25 });
        using var adam = new AdamW([("p", theirs, true)]);
        for (int i = 0; i < 3; i++)
        {
            (mine.grad, theirs.grad) = (full(5, 0.3f), full(5, 0.3f));
            muon.Step(0.1, 0.5);
            adam.Step(0.025, 0.5);
        }
        Assert.Equal(Numbers(theirs), Numbers(mine));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_step_with_a_bad_gradient_changes_nothing(float bad)
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(9);
        var matrix = Matrix("m", randn([4, 3], generator: generator));
        var bias = new ModelParameter("b", new Parameter(ones(3)), false);
        using var muon = new Muon([matrix, bias]);
        (matrix.Value.grad, bias.Value.grad) = (randn([4, 3], generator: generator), ones(3));
        muon.Step(0.1, 1);
        var before = muon.State.ToDictionary(item => item.Key, item => Numbers(item.Value));
        var (m, b) = (Numbers(matrix.Value), Numbers(bias.Value));
        (matrix.Value.grad, bias.Value.grad) = (full([4, 3], bad), ones(3));
        Assert.False(float.IsFinite(muon.Step(0.1, 1).item<float>()));
        Assert.True(muon.ReadFailed());
        Assert.Equal(m, Numbers(matrix.Value));
        Assert.Equal(b, Numbers(bias.Value));
        foreach (var (name, value) in muon.State) Assert.Equal(before[name], Numbers(value));
    }

    [Fact]
    public void A_saved_state_continues_bit_for_bit()
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(5);
        var start = randn([6, 4], generator: generator);
        var (whole, half) = (Matrix("p", start.clone()), Matrix("p", start.clone()));
        using var straight = new Muon([whole]);
        using var before = new Muon([half]);
        using var after = new Muon([half]);
        for (int i = 0; i < 6; i++)
        {
            var gradient = randn([6, 4], generator: generator);
            (whole.Value.grad, half.Value.grad) = (gradient.clone(), gradient.clone());
            straight.Step(0.1, 1);
            (i < 3 ? before : after).Step(0.1, 1);
            if (i == 2) after.Load((name, target) => target.copy_(before.State[name]));
        }
        Assert.Equal(Numbers(whole.Value), Numbers(half.Value));
    }

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        using var scope = NewDisposeScope();
        var matrix = Matrix("m", ones(4, 6));
        using var muon = new Muon([matrix]);
        long after10 = 0;
        for (int i = 0; i < 40; i++)
        {
            using var inner = NewDisposeScope();
            matrix.Value.grad = ones(4, 6);
            muon.Step(0.1, 1);
            if (i == 10) after10 = LiveTensors.Settled();
        }
        Assert.True(Tensor.TotalCount <= after10, $"{after10} -> {Tensor.TotalCount}");
    }

    [Fact]
    public void The_projections_of_a_model_are_matrices_and_nothing_else_is()
    {
        using var scope = NewDisposeScope();
        using var model = HybridDesign.Create(width: 32, vocabularySize: 64).WithAttention(heads: 4, keyValueHeads: 2)
            .WithMamba2(stateSize: 8, headSize: 8).WithFeedForward(FeedForwardSpec.SwiGlu(48)).Pattern("MT").Build().CreateModel(seed: 0);
        var matrices = model.Parameters.Where(item => item.Matrix is not null).ToDictionary(item => item.Name, item => item.Matrix!);
        Assert.DoesNotContain(matrices.Keys, name => name.Contains("embedding") || name.Contains("head") || name.Contains("norm")
            || name.Contains("conv") || name.Contains("A_log"));
        Assert.All(matrices, item => Assert.Equal(model.State[item.Key].size(0), item.Value.Rows));
        Assert.Equal([64, 64, 8, 8, 8], matrices.Single(item => item.Value.Parts.Count > 1).Value.Parts);
        Assert.Equal(8, matrices.Single(item => item.Key.EndsWith("query.weight")).Value.HeadRows);
        // query, key, value, output; input, output; two feed-forwards of three
        Assert.Equal(12, matrices.Count);
    }

    [Fact]
    public void Projections_ordered_by_head_have_the_parts_of_a_head_as_matrices()
    {
        using var scope = NewDisposeScope();
        using var model = HybridDesign.Create(width: 32, vocabularySize: 64)
            .WithMixer(new GatedDeltaSpec { KeyHeads = 2, ValueHeads = 4, KeyHeadSize = 8, ValueHeadSize = 16 })
            .WithMixer(new LightningAttentionSpec { Heads = 4, HeadSize = 8 })
            .WithAttention(new AttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 8, ValueHeadSize = 8, OutputGate = true })
            .Pattern("GLT").Build().CreateModel(seed: 0);
        var matrices = model.Parameters.Where(item => item.Matrix is { Repeats: > 1 }).ToDictionary(item => item.Name, item => item.Matrix!);
        Assert.All(matrices, item => Assert.Equal(model.State[item.Key].size(0), item.Value.Rows));
        var parts = matrices.Values.Select(layout => (layout.Repeats, string.Join(' ', layout.Parts))).ToHashSet();
        Assert.Equal([(2, "8 8 32 32"), (2, "2 2"), (4, "8 8 8"), (4, "8 8")], parts);
    }

    [Fact]
    public void Bad_arguments_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        void Refused(string name, Action action) => Assert.Equal(name, Assert.ThrowsAny<ArgumentException>(action).ParamName);
        var good = Matrix("p", ones(4, 6));
        Refused("parameters", () => new Muon([]));
        Refused("parameters", () => new Muon([good, good]));
        Refused("parameters", () => new Muon([Matrix("p", ones(4, 6), 0, 3)]));
        Refused("parameters", () => new Muon([Matrix("p", ones(4, 6), 3)]));
        Refused("parameters", () => new Muon([new ModelParameter("p", new Parameter(ones(4)), true) { Matrix = new([4]) }]));
        Refused("Momentum", () => new Muon([good], new MuonOptions { Momentum = 1 }));
        Refused("UpdateScale", () => new Muon([good], new MuonOptions { UpdateScale = 0 }));
        Refused("Iterations", () => new Muon([good], new MuonOptions { Iterations = 9 }));
        Refused("WeightDecay", () => new Muon([good], new MuonOptions { WeightDecay = -1 }));
        Refused("Orthogonalization", () => new Muon([good], new MuonOptions { Orthogonalization = (Orthogonalization)9 }));
        Refused("Beta1", () => new Muon([good], new MuonOptions { Others = new() { Beta1 = 1 } }));
    }
}
