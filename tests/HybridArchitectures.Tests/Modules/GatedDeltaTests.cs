using HybridArchitectures.Adapters;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>
/// Tests that a training step, which gathers the rows of projections, computes what a pass without gradients does, which gathers their outputs.
/// </summary>
public class GatedDeltaTests
{
    static HybridLanguageModel Model(bool gated, bool decays) => HybridDesign.Create(16, 40)
        .WithMixer(new GatedDeltaSpec { KeyHeads = 2, ValueHeads = 6, KeyHeadSize = 8, ValueHeadSize = 16, OutputGate = gated, Decays = decays })
        .WithFeedForward(FeedForwardSpec.None).Pattern("G").Build().CreateModel(seed: 1);

    static Tensor Ids => randint(40, [2, 9], ScalarType.Int64);

    [Theory]
    [InlineData(true, true), InlineData(false, true), InlineData(true, false), InlineData(false, false)]
    public void A_training_step_computes_what_a_pass_without_gradients_does(bool gated, bool decays)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        using var model = Model(gated, decays);
        var ids = Ids;
        var training = model.Forward(ids).detach();
        using var noGrad = no_grad();
        Assert.True(training.allclose(model.Forward(ids), 1e-5, 1e-6));
    }

    /// <summary>A new adapter changes nothing, but its projection gathers the outputs.</summary>
    [Theory]
    [InlineData(true, true, 1e-5), InlineData(false, false, 1e-5)]
    public void Gradients_are_those_of_gathered_outputs(bool gated, bool decays, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        using var model = Model(gated, decays);
        using var other = Model(gated, decays);
        using var adapters = LoraAdapters.Attach(other, new() { Rank = 1 });
        var (ids, targets) = (Ids, Ids);
        foreach (var (_, value, _) in other.AllParameters()) value.requires_grad_();
        Autograd.Backward(model.Loss(ids, targets).Total);
        Autograd.Backward(other.Loss(ids, targets).Total);
        foreach (var (name, value, _) in model.AllParameters())
        {
            var expected = other.AllParameters().Single(item => item.Name == name).Value.grad!;
            Assert.True((expected - value.grad!).abs().max().item<float>() <= tolerance * expected.abs().max().item<float>(), name);
        }
    }
}
