using HybridArchitectures.Adapters;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>Uses of a trainer that cannot work are refused in words, before anything is trained.</summary>
public sealed class MisuseTests : IDisposable
{
    readonly TokenDataset data = Small.Data();

    public void Dispose() => data.Dispose();

    [Fact]
    public void A_run_without_gradients_is_refused()
    {
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(1) });
        using (no_grad()) Assert.Contains("torch.no_grad()", Assert.Throws<InvalidOperationException>(() => trainer.Run()).Message);
        using (inference_mode()) Assert.Contains("torch.inference_mode()", Assert.Throws<InvalidOperationException>(() => trainer.Run()).Message);
        Assert.Equal(1, trainer.Run().Steps);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_model_and_its_adapters_that_are_created_in_inference_mode_can_be_trained(bool adapts)
    {
        using var usual = Small.Model();
        if (adapts) LoraAdapters.Attach(usual);
        HybridLanguageModel model;
        using (inference_mode())
        {
            model = Small.Model();
            if (adapts) LoraAdapters.Attach(model);
        }
        using (model)
        {
            foreach (var one in new[] { usual, model })
                using (var trainer = new Trainer(one, data, Small.Options with { Duration = Duration.Steps(2) })) trainer.Run();
            Assert.Equal(Small.Bytes(usual), Small.Bytes(model));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_trainer_that_is_created_in_inference_mode_can_run_outside(bool usesMuon)
    {
        using var model = Small.Model();
        Trainer trainer;
        using (inference_mode())
            trainer = new Trainer(model, data, Small.Options with
            {
                Duration = Duration.Steps(2), Optimizer = usesMuon ? new MuonOptions() : new AdamWOptions(),
            });
        using (trainer) Assert.Equal(2, trainer.Run().Steps);
    }

    [Fact]
    public void A_second_run_of_one_model_is_refused_until_the_first_has_ended()
    {
        using var model = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(2) };
        using var other = new Trainer(model, data, options);
        var nested = new Nested(other);
        using var trainer = new Trainer(model, data, options, callbacks: [nested]);
        Assert.Equal(2, trainer.Run().Steps);
        Assert.Contains("The model is being trained", nested.Refusal?.Message);
        Assert.Equal(2, other.Run().Steps);
    }

    [Fact]
    public void Parameters_that_were_replaced_after_the_trainer_was_made_are_named()
    {
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options);
        model.to(ScalarType.BFloat16);
        var refusal = Assert.Throws<InvalidOperationException>(() => trainer.Run());
        Assert.Matches("^The parameter '[a-z_.0-9A-Z]+' was replaced, for example by model.to", refusal.Message);
    }

    [Fact]
    public void A_model_does_not_learn_from_itself()
    {
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(1) }, callbacks: [new Distillation(model)]);
        Assert.Contains("teacher is the model that is trained", Assert.Throws<ArgumentException>(() => trainer.Run()).Message);
    }

    sealed class Nested(Trainer other) : TrainingCallback
    {
        public InvalidOperationException? Refusal { get; private set; }

        public override void OnStep(TrainingStep step) => Refusal = Assert.Throws<InvalidOperationException>(() => other.Run());
    }
}
