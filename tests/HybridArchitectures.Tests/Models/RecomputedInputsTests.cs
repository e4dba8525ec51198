using HybridArchitectures.Adapters;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

/// <summary>Tests that inputs which the backward pass computes again leave every gradient as it is, in whole models.</summary>
public class RecomputedInputsTests
{
    const int Rows = 2, Length = 13;

    const LoraTargets Adapted = LoraTargets.Attention | LoraTargets.StateSpace | LoraTargets.OtherMixers | LoraTargets.FeedForward;

    static Dictionary<string, Tensor> Train(
        string name, ScalarType compute, bool recomputes, Device device, bool adapts = false, bool checkpointing = false)
    {
        using var options = OperatorOptions.Use(new() { RecomputeInputs = recomputes });
        using var model = TinyDesigns.Get(name).CreateModel(compute, device, seed: 3);
        using var adapters = adapts ? LoraAdapters.Attach(model, new() { Rank = 2, Targets = Adapted }) : null;
        model.Stack.ActivationCheckpointing = checkpointing;
        using var random = manual_seed(4);
        var (ids, targets) = (randint(37, [Rows, Length], ScalarType.Int64).to(device), randint(37, [Rows, Length], ScalarType.Int64).to(device));
        using var layout = SequenceLayout.Packed([[5, 7, 1], [9, 3]], Length, device);
        using var context = new SequenceContext(layout);
        var loss = model.Loss(ids, targets, context);
        Autograd.Backward(loss.Total);
        var results = new Dictionary<string, Tensor> { ["loss"] = loss.Total.detach() };
        foreach (var (parameter, value, _) in model.AllParameters())
            if (value.grad is { } gradient) results[parameter] = gradient.clone();
        return results;
    }

    static void GradientsAreEqual(string name, ScalarType compute, Device device, bool adapts = false, bool checkpointing = false)
    {
        using var scope = NewDisposeScope();
        var expected = Train(name, compute, recomputes: false, device, adapts, checkpointing);
        var own = Train(name, compute, recomputes: true, device, adapts, checkpointing);
        Assert.Equal(expected.Keys, own.Keys);
        Assert.True(expected.Count > 3);
        foreach (var (key, value) in expected) Assert.True(value.equal(own[key]).all().item<bool>(), $"'{key}' differs");
    }

    public static TheoryData<string> Names => [.. TinyDesigns.Names.Select(row => row.Data)];

    [Theory, MemberData(nameof(Names))]
    public void Gradients_are_those_with_saved_inputs_to_the_bit(string name)
    {
        GradientsAreEqual(name, ScalarType.Float32, CPU);
        GradientsAreEqual(name, ScalarType.BFloat16, CPU);
    }

    [Theory, MemberData(nameof(Names))]
    public void They_are_with_adapters_and_frozen_weights_and_with_checkpointing(string name)
    {
        GradientsAreEqual(name, ScalarType.BFloat16, CPU, adapts: true);
        GradientsAreEqual(name, ScalarType.BFloat16, CPU, checkpointing: true);
        GradientsAreEqual(name, ScalarType.Float32, CPU, adapts: true, checkpointing: true);
    }

    [Theory, MemberData(nameof(Names)), Trait("device", "cuda")]
    public void They_are_on_a_GPU(string name)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: models were not trained on a GPU");
        foreach (var type in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16])
        {
            GradientsAreEqual(name, type, CUDA);
            GradientsAreEqual(name, type, CUDA, checkpointing: true);
        }
        GradientsAreEqual(name, ScalarType.BFloat16, CUDA, adapts: true);
    }
}
