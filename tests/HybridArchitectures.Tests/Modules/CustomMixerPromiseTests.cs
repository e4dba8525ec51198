using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

public class CustomMixerPromiseTests
{
    public CustomMixerPromiseTests() => MixerSpec.Register<PromisedSpec>("promised");

    static HybridDesign With(PromisedSpec spec) => HybridDesign.Create(8, 20).WithMixer(spec).WithAttention(2).Pattern("TP").Build();

    [Fact]
    public void A_count_of_parameters_that_is_not_the_modules_is_refused_with_both_numbers_and_the_parts()
    {
        With(new()).CreateModel(seed: 1).Dispose();
        foreach (long wrong in new[] { -1L, 1, -72 })
        {
            var design = With(new() { ParametersTooMany = wrong });
            foreach (var make in new Action[] { () => design.CreateModel(seed: 1), () => design.CreateStack(seed: 1),
                () => design.CreateBlankModel(ScalarType.Float32, CPU) })
            {
                var refusal = Assert.Throws<InvalidOperationException>(make);
                Assert.Equal(
                    $"PromisedSpec.CountParameters(8) is {72 + wrong}; expected 72, the parameters of its module PromisedMixer: bias [8], "
                    + "project.weight [8, 8].", refusal.Message);
            }
        }
    }

    [Fact]
    public void Counts_below_0_and_operations_that_are_no_number_are_refused_by_name()
    {
        void Refused(string message, Func<object> act) => Assert.Contains(message, Assert.ThrowsAny<ArgumentException>(act).Message);
        Refused("PromisedSpec.CountParameters is -1; expected at least 0", () => With(new() { ParametersTooMany = -73 }).CountParameters());
        Refused("PromisedSpec.CountCacheBytes is -8; expected at least 0", () => CacheSize.FromDesign(With(new() { CacheBytes = -8 }), 10));
        Refused("PromisedSpec.CountMixingFlops is NaN; expected a finite number of at least 0",
            () => With(new() { Flops = double.NaN }).Cost(10).Flops());
        Refused("PromisedSpec.CountMixingFlops is -2; expected a finite number of at least 0", () => With(new() { Flops = -2 }).Cost(10).StepFlops());
    }

    [Fact]
    public void A_mixer_that_JSON_does_not_restore_is_not_written()
    {
        var whole = With(new() { CacheBytes = 3, Flops = 0.1 });
        Assert.Equal(whole, HybridDesign.FromJson(whole.ToJson()));
        foreach (var lost in new PromisedSpec[] { new() { Field = 3 }, new() { Numbers = [1, 2] } })
        {
            var refusal = Assert.Throws<ArgumentException>("mixer", () => With(lost).ToJson());
            Assert.Contains("expected a mixer that is equal when read back from JSON", refusal.Message);
        }
        Assert.Contains("expected a mixer that JSON can represent",
            Assert.Throws<ArgumentException>(
            "mixer", () => (With(new()) with { Blocks = [new() { Mixer = new PromisedSpec { Flops = double.NaN } }] }).ToJson()).Message);
    }

    [Fact]
    public void A_mixer_that_is_lost_or_continues_changing_when_resolved_is_refused()
    {
        Assert.Contains("PromisedSpec.Resolve(8) is null; expected a mixer",
            Assert.Throws<ArgumentException>(() => With(new() { IsLost = true })).Message);
        Assert.Contains("expected a mixer that resolves to itself", Assert.Throws<ArgumentException>(() => With(new() { Grows = 1 })).Message);
    }

    [Fact]
    public void A_message_that_quotes_a_refusal_names_the_parameter_once()
    {
        var odd = HybridDesign.Create(8, 20).WithMamba2(4, 4).Pattern("M~").Build();
        string said = Assert.Throws<ArgumentException>(
            "design", () => HybridArchitectures.Checkpoints.PretrainedFamily.Find("llama")!.WriteConfig(odd)).Message;
        Assert.Single(said.Split("(Parameter ").Skip(1));
        using var model = odd.CreateModel(seed: 1);
        string whole = Assert.Throws<ArgumentException>(
            "design", () => HybridArchitectures.Checkpoints.PretrainedModel.Save(model, "nowhere", "llama")).Message;
        Assert.StartsWith("design cannot be expressed as llama: the design has", whole);
        Assert.Single(whole.Split("(Parameter ").Skip(1));
    }
}
