using HybridArchitectures.Adapters;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class MixtureOfExpertsTests
{
    const string Experts = "stack.blocks.0.feed_forward.";

    // every score lies between 0 and 1, so that this bias keeps all tokens from the first expert
    static (HybridLanguageModel Model, Tensor Bias) WithoutFirstExpert()
    {
        var model = TinyDesigns.Model("experts before");
        var bias = model.State[Experts + "selection_bias"];
        TensorMemory.Span<float>(bias)[0] = -10;
        return (model, bias);
    }

    static void Pass(HybridLanguageModel model)
    {
        manual_seed(1);
        Autograd.Backward(model.Loss(randint(37, [2, 21], ScalarType.Int64), randint(37, [2, 21], ScalarType.Int64)).Total);
    }

    /// <summary>A captured step must not read from the device. With few tokens, experts are computed without groups.</summary>
    [Fact]
    public void Groups_of_many_tokens_and_adapters_make_the_host_read_sizes()
    {
        using var model = TinyDesigns.Model("experts");
        var experts = model.AllModules().OfType<MixtureOfExperts>().First();
        Assert.False(experts.ReadsHostSizes(4, ScalarType.BFloat16));
        Assert.True(experts.ReadsHostSizes(5, ScalarType.BFloat16));
        using var adapters = LoraAdapters.Attach(model, new LoraOptions { Rank = 2 });
        Assert.True(experts.ReadsHostSizes(4, ScalarType.BFloat16));
    }

    [Fact]
    public void An_expert_that_no_token_visits_gets_a_gradient_of_zero()
    {
        using var scope = NewDisposeScope();
        var (model, _) = WithoutFirstExpert();
        Pass(model);
        foreach (var name in new[] { "gate", "up", "down" })
        {
            var gradient = model.Parameters.Single(parameter => parameter.Name == Experts + name).Value.grad!;
            Assert.True(gradient.isfinite().all().item<bool>(), name);
            Assert.Equal(0f, gradient[0].abs().max().item<float>());
            Assert.True(gradient[1..].abs().max().item<float>() > 0, name);
        }
        model.Dispose();
    }

    [Fact]
    public void Balancing_favours_the_expert_that_no_token_visits_once_per_pass()
    {
        using var scope = NewDisposeScope();
        var (model, bias) = WithoutFirstExpert();
        Pass(model);
        model.AfterStep();
        var after = TensorMemory.Span<float>(bias).ToArray();
        Assert.True(after[0] > -10, $"{after[0]}");
        Assert.Equal(-10f, after.Sum(), 1e-4f);              // what one gains the others lose
        model.AfterStep();                                   // nothing seen since
        Assert.Equal(after, TensorMemory.Span<float>(bias).ToArray());
        model.Dispose();
    }

    [Fact]
    public void Routers_record_what_they_chose_on_request()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model("gated delta");
        using var layout = SequenceLayout.Padded([5, 7], 7);
        using var context = new SequenceContext(layout) { KeepsRouting = true };
        var ids = randint(37, [2, 7], ScalarType.Int64);
        model.Forward(ids, context);
        model.Forward(ids, context);                         // the first pass's records are gone
        Assert.Equal([3, 4], context.Routing.Select(record => record.Block));
        Assert.All(context.Routing, record =>
        {
            Assert.Equal([14, 4], record.Logits.shape);
            Assert.True(record.Logits.topk(2, -1).indexes.equal(record.Chosen).all().item<bool>());
        });
        using var silent = new SequenceContext();
        model.Forward(ids, silent);
        Assert.Empty(silent.Routing);
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(-5.0)]      // all biased scores are negative: an expert of another group must not win by a score of 0
    public void Experts_come_from_the_best_groups_whatever_the_sign_of_their_scores(double shift)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model("experts in groups");
        manual_seed(5);
        var bias = model.State["stack.blocks.1.feed_forward.selection_bias"];
        bias.copy_(rand(6) + shift);
        using var context = new SequenceContext { KeepsRouting = true };
        model.Forward(randint(37, [2, 20], ScalarType.Int64), context);
        var record = context.Routing.Single(record => record.Block == 2);
        var scores = record.Logits.to(ScalarType.Float64).sigmoid() + bias.to(ScalarType.Float64);
        for (int token = 0; token < 40; token++)
        {
            double[] row = scores[token].data<double>().ToArray();
            // three groups of two experts, rated by the sum of both; the worst group is dropped
            int dropped = Enumerable.Range(0, 3).MinBy(group => row[2 * group] + row[2 * group + 1]);
            var kept = Enumerable.Range(0, 6).Where(expert => expert / 2 != dropped).OrderByDescending(expert => row[expert]);
            long[] expected = [.. kept.Take(3).Select(expert => (long)expert)];
            Assert.Equal(expected, record.Chosen[token].data<long>().ToArray());
        }
    }

    [Fact]
    public void A_joint_balance_loss_is_that_of_all_layers_together()
    {
        using var scope = NewDisposeScope();
        var design = TinyDesigns.Get("gated delta") with { HeadZLoss = 0 };
        var experts = (MixtureOfExpertsSpec)design.Blocks[3].FeedForward with { Balance = ExpertBalance.JointAuxiliaryLoss, BalanceRate = 0.5 };
        design = design with { Blocks = [
            .. design.Blocks.Select(block => block.FeedForward is MixtureOfExpertsSpec ? block with { FeedForward = experts } : block)] };
        using var model = design.CreateModel(seed: 4);
        using var layout = SequenceLayout.Padded([5, 7], 7);
        using var context = new SequenceContext(layout) { KeepsRouting = true };
        var ids = arange(14).mul(11).remainder(37).reshape(2, 7);
        var loss = model.Loss(ids, ids, context);
        var expected = LoadBalance.Loss([.. context.Routing.Select(record => record.Logits)], 2, layout.Valid);
        Assert.Equal(0.5 * expected.item<float>(), (loss.Total - loss.CrossEntropy).item<float>(), 1e-5);
        var apart = context.Routing.Select(record => LoadBalance.Loss([record.Logits], 2, layout.Valid).item<float>()).Average();
        Assert.NotEqual(apart, expected.item<float>(), 1e-4);
    }

    [Fact]
    public void Logits_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        Assert.Throws<ArgumentException>("logits", () => LoadBalance.Loss([], 1));
        Assert.Throws<ArgumentException>("logits", () => LoadBalance.Loss([zeros(3, 4), zeros(3, 5)], 1));
        Assert.Throws<ArgumentOutOfRangeException>("expertsPerToken", () => LoadBalance.Loss([zeros(3, 4)], 5));
        Assert.Throws<ArgumentException>("mask", () => LoadBalance.Loss([zeros(3, 4)], 1, ones(4)));
    }
}
