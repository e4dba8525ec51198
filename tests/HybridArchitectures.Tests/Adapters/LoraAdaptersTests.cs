using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Adapters;

public sealed class LoraAdaptersTests : IDisposable
{
    readonly DisposeScope scope = NewDisposeScope();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    static Tensor Ids(int seed = 1)
    {
        manual_seed(seed);
        return randint(37, [2, 11], ScalarType.Int64);
    }

    static Tensor Forward(LanguageModel model)
    {
        using var noGrad = no_grad();
        return model.Forward(Ids());
    }

    /// <summary>Adapters as after training: nothing is 0.</summary>
    static void Shake(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        manual_seed(8);
        foreach (var parameter in model.Parameters) parameter.Value.add_(randn_like(parameter.Value) * 0.1);
    }

    static void Close(Tensor expected, Tensor actual)
    {
        double error = (expected - actual).abs().max().item<float>(), scale = expected.abs().max().item<float>();
        Assert.True(error < 2e-4 * scale, $"differs by {error:g3} of {scale:g3}");
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Fresh_adapters_on_every_projection_change_nothing_and_merged_ones_compute_what_separate_ones_do(string name)
    {
        using var model = TinyDesigns.Model(name);
        var plain = Forward(model);
        var weights = model.State.ToDictionary(item => item.Key, item => item.Value.clone());
        using var adapters = LoraAdapters.Attach(
            model, new() { Rank = 3, Targets = model.Design.TiedHead ? LoraTargets.All & ~LoraTargets.Head : LoraTargets.All });
        Assert.True(plain.equal(Forward(model)).all().item<bool>());
        Shake(model);
        var adapted = Forward(model);
        Assert.True((adapted - plain).abs().max().item<float>() > 1e-3);
        adapters.Merge();
        Close(adapted, Forward(model));
        Assert.Equal(weights.Keys.Order(), model.State.Keys.Order());       // a plain model
        adapters.Unmerge();
        Close(adapted, Forward(model));
        adapters.Detach();
        Close(plain, Forward(model));
        Assert.All(model.State, item => Assert.True((item.Value - weights[item.Key]).abs().max().item<float>() < 1e-5, item.Key));
        Assert.All(model.AllParameters(), item => Assert.True(item.Value.requires_grad));
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Gradients_reach_every_adapter_and_nothing_else(string name)
    {
        using var model = TinyDesigns.Model(name);
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 2, Targets = LoraTargets.All });
        Shake(model);
        foreach (bool checkpointing in new[] { false, true })
        {
            model.Stack.ActivationCheckpointing = checkpointing;
            Autograd.Backward(model.Loss(Ids(), Ids(2)).Total);
            Assert.Equal(2 * adapters.Weights.Count, model.Parameters.Count);
            foreach (var parameter in model.Parameters)
            {
                Assert.Contains("lora_", parameter.Name);
                Assert.True(parameter.Value.grad is { } gradient && gradient.isfinite().all().item<bool>() && gradient.abs().max().item<float>() > 0,
                    $"{parameter.Name} has no gradient");
                parameter.Value.grad = null;
            }
            foreach (var (other, value, _) in model.AllParameters()) Assert.True(value.grad is null, $"{other} has a gradient");
        }
    }

    [Fact]
    public void Every_matrix_of_a_model_is_reached_that_a_projection_uses()
    {
        foreach (var design in TinyDesigns.All)
        {
            using var model = design.CreateModel(seed: 1);
            using var adapters = LoraAdapters.Attach(model, new() { Targets = LoraTargets.All });
            // the rest of two dimensions and more: filters, scales of a shift, scans with their gates, and the tokens of an untied embedding
            var left = model.AllParameters()
                .Where(item => !item.Name.Contains("lora_") && item.Value.dim() >= 2 && !adapters.Weights.Contains(item.Name))
                .Select(item => item.Name.Split('.')[^1]).Distinct();
            Assert.Empty(left.Except(["conv_weight", "mix", "A_log", "input_gate_weight", "input_gate_bias", "recurrence_gate_weight",
                "recurrence_gate_bias", "b_bias", "c_bias", design.TiedHead ? "" : "embedding"]));
            Assert.Empty(adapters.Coverage().Untouched);
        }
    }

    [Fact]
    public void Coverage_tells_what_share_of_layers_and_parameters_is_touched()
    {
        using var model = TinyDesigns.Model("inter");       // Mamba-2, Mamba-1, attention, Mamba-2; feed-forward behind the first three
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 2, Targets = LoraTargets.Attention });
        var coverage = adapters.Coverage();
        Assert.Equal((4, 1), (coverage.Blocks, coverage.AdaptedBlocks));
        var attention = coverage.Parts.Single(part => part.Part == "Attention");
        Assert.Equal((4, 4, 1.0), (attention.Projections, attention.Adapted, attention.ParameterShare));
        Assert.Equal(24L * 24 + 2 * 12 * 24 + 24 * 24, attention.AdaptedParameters);
        Assert.Equal(2L * (24 + 24 + 2 * (24 + 12) + 24 + 24), attention.AdapterParameters);
        var states = coverage.Parts.Single(part => part.Part == "StateSpace");
        Assert.Equal((2 + 4 + 2, 0), (states.Projections, states.Adapted));
        Assert.Equal(model.Design.CountParameters().Total, coverage.Total.Parameters);
        Assert.Equal(attention.AdapterParameters, model.Parameters.Sum(parameter => parameter.Value.NumberOfElements));
        Assert.Contains("stack.blocks.1.mixer.dt_weight", coverage.Untouched);
        Assert.Contains("1 of 4 blocks have adapters", coverage.ToString());
    }

    [Fact]
    public void Projections_can_be_chosen_by_name()
    {
        using var model = TinyDesigns.Model("experts");
        using var adapters = LoraAdapters.Attach(model, new() { Only = name => name.EndsWith("feed_forward.up") });
        Assert.Equal(["stack.blocks.0.feed_forward.up", "stack.blocks.1.feed_forward.up"], adapters.Weights);
        Assert.Equal([4L, 8, 24], model.State["stack.blocks.0.feed_forward.lora_up.down"].shape);
    }

    [Fact]
    public void Saved_adapters_are_small_and_give_the_same_numbers_on_another_copy_of_the_model()
    {
        using var model = TinyDesigns.Model("experts before");
        using var other = TinyDesigns.Model("experts before");
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 1, Alpha = 3, Dropout = 0.25 });
        Shake(model);
        adapters.Save(folder["adapters.safetensors"]);
        using var loaded = LoraAdapters.Load(other, folder["adapters.safetensors"]);
        Assert.Equal(adapters.Options with { Seed = 0 }, loaded.Options with { Targets = adapters.Options.Targets });
        Assert.Equal(adapters.Weights, loaded.Weights);
        model.eval();
        other.eval();
        Assert.True(Forward(model).equal(Forward(other)).all().item<bool>());
        long whole = model.State.Values.Sum(value => value.NumberOfElements * 4);
        Assert.True(new FileInfo(folder["adapters.safetensors"]).Length < whole / 2);
    }

    [Fact]
    public void A_checkpoint_of_an_adapted_model_brings_its_adapters_back_and_one_of_a_merged_model_is_plain()
    {
        using var model = TinyDesigns.Model("inter");
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 2, Alpha = 5 });
        Shake(model);
        Checkpoint.Save(model, folder["adapted"]);
        using (var again = Checkpoint.Load(folder["adapted"]))
        {
            Assert.Equal(adapters.Weights, again.Adapters()!.Weights);
            Assert.True(Forward(model).equal(Forward(again)).all().item<bool>());
        }
        Assert.Contains("merge or detach",
            Assert.Throws<ArgumentException>("model", () => PretrainedModel.Save(model, folder["exported"], "llama")).Message);
        adapters.Merge();
        Checkpoint.Save(model, folder["merged"]);
        using (var plain = Checkpoint.Load(folder["merged"]))
        {
            Assert.Null(plain.Adapters());
            Assert.True(Forward(model).equal(Forward(plain)).all().item<bool>());
        }
    }

    [Fact]
    public void Dropout_works_while_training_alone()
    {
        using var model = TinyDesigns.Model("transformer");
        using var adapters = LoraAdapters.Attach(model, new() { Dropout = 0.5 });
        Shake(model);
        var ids = Ids();
        model.train();
        Assert.True((model.Forward(ids) - model.Forward(ids)).abs().max().item<float>() > 1e-3);
        model.eval();
        Assert.Equal(0, (model.Forward(ids) - model.Forward(ids)).abs().max().item<float>());
    }

    [Fact]
    public void A_seed_gives_the_same_adapters()
    {
        Tensor First(long seed)
        {
            using var model = TinyDesigns.Model("transformer");
            using var adapters = LoraAdapters.Attach(model, new() { Seed = seed });
            return model.Parameters[0].Value.clone();
        }
        Assert.True(First(1).equal(First(1)).all().item<bool>());
        Assert.False(First(1).equal(First(2)).all().item<bool>());
    }

    [Fact]
    public void A_head_that_is_the_embedding_has_a_separate_adapter_but_cannot_be_merged()
    {
        using var model = TinyDesigns.Model("inter");
        using var adapters = LoraAdapters.Attach(model, new() { Targets = LoraTargets.Head });
        var before = model.Hidden(Ids()).detach();
        Shake(model);
        Assert.Equal(["embedding"], adapters.Weights);
        Assert.True(before.equal(model.Hidden(Ids())).all().item<bool>());
        Assert.Contains("embedding", Assert.Throws<InvalidOperationException>(adapters.Merge).Message);
    }

    [Fact]
    public void A_frozen_router_keeps_its_balance()
    {
        using var model = TinyDesigns.Model("experts before");
        using var adapters = LoraAdapters.Attach(model);
        var bias = model.State["stack.blocks.0.feed_forward.selection_bias"].clone();
        model.Loss(Ids(), Ids(2));
        model.AfterStep();
        Assert.True(bias.equal(model.State["stack.blocks.0.feed_forward.selection_bias"]).all().item<bool>());
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using var model = TinyDesigns.Model("inter");
        using var other = TinyDesigns.Model("mamba1");
        Assert.Throws<ArgumentOutOfRangeException>("options", () => LoraAdapters.Attach(model, new() { Rank = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>("options", () => LoraAdapters.Attach(model, new() { Rank = int.MaxValue }));
        Assert.Throws<ArgumentException>("options", () => LoraAdapters.Attach(model, new() { Dropout = 1 }));
        Assert.Throws<ArgumentException>("options", () => LoraAdapters.Attach(model, new() { Only = _ => false }));
        using var adapters = LoraAdapters.Attach(model);
        Assert.Throws<ArgumentException>("model", () => LoraAdapters.Attach(model));
        adapters.Save(folder["a"]);
        Assert.Contains("stack.blocks.2.mixer.query.weight",
            Assert.Throws<InvalidDataException>(() => LoraAdapters.Load(other, folder["a"])).Message);
        Assert.Null(other.Adapters());
        SafetensorsFile.Write(folder["b"], new Dictionary<string, Tensor> { ["x.down"] = zeros(2, 3) },
            new Dictionary<string, string> { ["lora"] = "1", ["rank"] = "999999", ["alpha"] = "1", ["dropout"] = "0" });
        Assert.Contains("does not have rank", Assert.Throws<InvalidDataException>(() => LoraAdapters.Load(other, folder["b"])).Message);
        SafetensorsFile.Write(folder["c"], new Dictionary<string, Tensor> { ["x"] = zeros(2) });
        Assert.Contains("lora", Assert.Throws<InvalidDataException>(() => LoraAdapters.Load(other, folder["c"])).Message);
        adapters.Detach();
        Assert.Throws<ObjectDisposedException>(adapters.Merge);
        Assert.Throws<ObjectDisposedException>(() => adapters.Save(folder["d"]));
    }
}
