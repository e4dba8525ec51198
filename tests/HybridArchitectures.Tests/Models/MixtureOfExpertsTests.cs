using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
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
}
