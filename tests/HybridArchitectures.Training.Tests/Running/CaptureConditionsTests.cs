using HybridArchitectures.Adapters;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class CaptureConditionsTests : IDisposable
{
    readonly DisposeScope scope = NewDisposeScope();
    readonly HybridLanguageModel model = Small.Model();

    public void Dispose()
    {
        model.Dispose();
        scope.Dispose();
    }

    void Backward()
    {
        using var ids = zeros([1, 4], ScalarType.Int64);
        Autograd.Backward(model.Loss(ids, ids).Total);
    }

    [Fact]
    public void Values_of_weights_may_change()
    {
        var conditions = new CaptureConditions(model);
        using (no_grad()) model.Parameters[0].Value.mul_(Scalars.From(0.5));
        Assert.True(conditions.Hold());
        Assert.Null(CaptureConditions.Exception(model));
    }

    [Fact]
    public void A_frozen_parameter_ends_a_graph()
    {
        var conditions = new CaptureConditions(model);
        model.Parameters[^1].Value.requires_grad = false;
        Assert.False(conditions.Hold());
        Assert.True(new CaptureConditions(model).Hold());
    }

    [Fact]
    public void Moved_memory_of_a_weight_ends_a_graph()
    {
        var conditions = new CaptureConditions(model);
        var weight = model.Parameters[0].Value;
        using (no_grad()) weight.set_(weight.detach().clone());
        Assert.False(conditions.Hold());
    }

    [Fact]
    public void Other_options_of_operators_end_a_graph()
    {
        var conditions = new CaptureConditions(model);
        using (OperatorOptions.Use(new() { RmsNormBackend = KernelBackend.Reference })) Assert.False(conditions.Hold());
        Assert.True(conditions.Hold());
    }

    [Fact]
    public void Adapters_end_a_graph_and_forbid_captured_steps()
    {
        var conditions = new CaptureConditions(model);
        using (LoraAdapters.Attach(model))
        {
            Assert.False(conditions.Hold());
            Assert.Contains("adapters", CaptureConditions.Exception(model));
        }
        Assert.True(conditions.Hold());
        Assert.Null(CaptureConditions.Exception(model));
    }

    [Fact]
    public void An_observer_and_checkpointing_forbid_captured_steps_while_they_are_set()
    {
        var conditions = new CaptureConditions(model);
        model.Stack.Observer = (_, _) => { };
        Assert.Contains("observer", CaptureConditions.Exception(model));
        model.Stack.Observer = null;
        model.Stack.ActivationCheckpointing = true;
        Assert.Contains("computed again", CaptureConditions.Exception(model));
        model.Stack.ActivationCheckpointing = false;
        Assert.Null(CaptureConditions.Exception(model));
        Assert.True(conditions.Hold());
    }

    [Fact]
    public void A_gradient_that_was_left_forbids_a_captured_step()
    {
        Backward();
        Assert.Contains("has a gradient", CaptureConditions.Exception(model));
        foreach (var parameter in model.Parameters) parameter.Value.grad = null;
        Assert.Null(CaptureConditions.Exception(model));
    }
}
