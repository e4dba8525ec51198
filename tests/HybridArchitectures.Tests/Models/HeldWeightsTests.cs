using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tests.Design;
using HybridArchitectures.Training.Optimization;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

/// <summary>Tests models whose weights are held in bfloat16.</summary>
public sealed class HeldWeightsTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    static HeldWeightsTests() => MixerSpec.Register<ShiftSpec>("shift");

    static bool Same(Tensor left, Tensor right) => left.dtype == right.dtype && left.equal(right).all().item<bool>();

    static Tensor Ids(int rows, int length) => randint(0, 37, [rows, length], int64);

    // the model as it would be if its projections had been rounded and kept in float32
    static HybridLanguageModel Rounded(HybridLanguageModel model, HybridLanguageModel held)
    {
        var rounded = model.Copy(ScalarType.Float32);
        using var noGrad = no_grad();
        foreach (var (name, value) in held.State) rounded.State[name].copy_(value);
        return rounded;
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Passes_without_gradients_follow_an_optimizer_step(string name)
    {
        using var model = TinyDesigns.Model(name);
        var ids = Ids(2, 9);
        Tensor Logits(HybridLanguageModel of)
        {
            using var noGrad = no_grad();
            return of.Forward(ids);
        }
        var before = Logits(model);
        using var optimizer = new AdamW(model.Parameters.Select(parameter => (parameter.Name, parameter.Value, parameter.Decays)));
        long version = model.Version();
        for (int step = 0; step < 2; step++)
        {
            HybridArchitectures.Kernels.Runtime.Autograd.Backward(model.Loss(ids[.., ..8], ids[.., 1..]).Total);
            optimizer.Step(0.05);
        }
        Assert.NotEqual(version, model.Version());
        using var fresh = model.Copy(ScalarType.Float32);       // a new model has stored nothing
        var after = Logits(model);
        Assert.False(Same(before, after));
        Assert.True(Same(Logits(fresh), after));
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Logits_of_held_weights_are_those_of_weights_cast_at_each_pass(string name)
    {
        using var noGrad = no_grad();
        using var master = TinyDesigns.Model(name);
        using var cast = master.Copy(ScalarType.Float32, ScalarType.BFloat16);
        using var held = master.Copy(ScalarType.BFloat16, ScalarType.BFloat16);
        Assert.Equal((ScalarType.Float32, ScalarType.BFloat16), (cast.WeightType, held.WeightType));
        Assert.Equal(ScalarType.BFloat16, held.Embedding.dtype);
        var ids = Ids(3, 11);
        Assert.True(Same(cast.Forward(ids), held.Forward(ids)));
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Float32_activations_meet_held_weights_as_their_rounded_values(string name)
    {
        using var noGrad = no_grad();
        using var master = TinyDesigns.Model(name);
        using var held = master.Copy();
        using var rounded = Rounded(master, held);
        Assert.Equal(ScalarType.Float32, held.ComputeType);
        var ids = Ids(2, 9);
        Assert.True(Same(rounded.Forward(ids), held.Forward(ids)));
        // and in steps, where weights are read as they are held
        using HybridCache first = rounded.CreateCache(2), second = held.CreateCache(2);
        for (int step = 0; step < 4; step++)
        {
            using SequenceContext left = new(cache: first), right = new(cache: second);
            var next = ids.narrow(1, step, 1);
            Assert.True(Same(rounded.NextLogits(next, left), held.NextLogits(next, right)), $"step {step}");
        }
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Parameters_that_enter_in_float32_keep_that_type(string name)
    {
        using var held = TinyDesigns.Get(name).CreateModel(weightType: ScalarType.BFloat16, seed: 3);
        using var master = TinyDesigns.Get(name).CreateModel(seed: 3);
        string[] exact = ["norm.weight", "norm_weight", "_norm", "conv_weight", "conv_bias", "A_log", ".D", "dt_bias", "router.weight", "_scale",
            "mixer.gate", "selection_bias", "_gate_weight", "_gate_bias", "mixer.decay", ".b_bias", ".c_bias", "_vector_1", "_vector_2",
            "lower_bound", ".mix", "decay_bias", "rate_bias", "value_bias", "norm_bias"];
        foreach (var (key, value) in held.State)
        {
            bool keeps = exact.Any(ending => key.EndsWith(ending, StringComparison.Ordinal)) || key.Contains("norm.", StringComparison.Ordinal)
                || key == "stack.blocks.0.mixer.weight";
            Assert.True(keeps == (value.dtype == ScalarType.Float32), $"{key} is {value.dtype}");
            Assert.True(Same(master.State[key].to(value.dtype), value), key);
            Assert.False(value.requires_grad);
        }
    }

    [Theory, InlineData("experts"), InlineData("gated delta"), InlineData("mamba1"), InlineData("shared transformers"), InlineData("own mixer")]
    public void Files_are_read_into_the_type_weights_are_held_in(string name)
    {
        using var noGrad = no_grad();
        using var master = TinyDesigns.Model(name);
        using var held = master.Copy();
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
        {
            Checkpoint.Save(master, folder[$"{type}"], type);
            using var loaded = Checkpoint.Load(folder[$"{type}"], weightType: ScalarType.BFloat16);
            // a bfloat16 file has rounded the others too
            foreach (var (key, value) in held.State)
                Assert.True(Same(type == ScalarType.BFloat16 && master.AllParameters().Any(item => item.Name == key)
                    ? value.to(type).to(value.dtype) : value, loaded.State[key]), key);
        }
        // and are written in the type that is asked for
        Checkpoint.Save(held, folder["held"]);
        using var back = Checkpoint.Load(folder["held"]);
        foreach (var (key, value) in held.State) Assert.True(Same(value.to(back.State[key].dtype), back.State[key]), key);
        Assert.All(back.AllParameters(), item => Assert.Equal(ScalarType.Float32, item.Value.dtype));
        using var file = SafetensorsFile.Open(Path.Combine(folder["held"], Checkpoint.ModelFile));
        Assert.All(back.AllParameters(), item => Assert.Equal(ScalarType.Float32, file[item.Name].Type));
    }

    [Fact]
    public void A_published_checkpoint_is_read_into_held_weights()
    {
        using var noGrad = no_grad();
        using var model = HybridDesign.Create(24, 37).WithAttention(heads: 4,
            keyValueHeads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(40)).Pattern("TT").Build().CreateModel(seed: 5);
        PretrainedModel.Save(model, folder["llama"], "llama", new PretrainedSaveOptions { Type = ScalarType.BFloat16 });
        using var held = PretrainedModel.Load(folder["llama"], weightType: ScalarType.BFloat16);
        using var full = PretrainedModel.Load(folder["llama"]);
        foreach (var (key, value) in full.State) Assert.True(Same(value.to(held.State[key].dtype), held.State[key]), key);
        Assert.Equal(ScalarType.BFloat16, held.WeightType);
    }

    [Fact]
    public void A_model_of_held_weights_trains_nothing_but_adapters()
    {
        using var held = TinyDesigns.Get("experts").CreateModel(weightType: ScalarType.BFloat16, seed: 3);
        Assert.Empty(held.Parameters);
        Assert.Contains("requires a gradient", Assert.Throws<ArgumentException>(() => new AdamW(held.AllParameters())).Message);
        using var adapters = LoraAdapters.Attach(held, new LoraOptions { Rank = 2 });
        var ids = Ids(2, 6);
        using (var loss = held.Loss(ids, ids).Total) HybridArchitectures.Kernels.Runtime.Autograd.Backward(loss);
        Assert.All(held.Parameters, item => Assert.Equal(ScalarType.Float32, item.Value.dtype));
        Assert.Contains(held.Parameters, item => item.Value.grad is { } gradient && gradient.abs().sum().item<float>() > 0);
    }

    [Fact]
    public void A_copy_holds_what_adapters_add()
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model("mamba1");
        using var adapters = LoraAdapters.Attach(model, new LoraOptions { Rank = 2 });
        foreach (var item in model.Parameters) item.Value.add_(randn_like(item.Value) * 0.1);
        var ids = Ids(2, 9);
        using var copy = model.Copy(ScalarType.Float32);
        Assert.True(copy.Forward(ids).allclose(model.Forward(ids), 1e-4, 1e-4));
        Assert.Null(copy.Adapters());
    }

    [Fact]
    public void A_generator_keeps_a_copy_and_fills_it_again_when_weights_have_changed()
    {
        using var model = TinyDesigns.Model("inter");
        using var generator = new TextGenerator(model, weightType: ScalarType.BFloat16);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 8 };
        int[] prompt = [3, 1, 4, 1, 5];
        IReadOnlyList<int> Expected()
        {
            using var copy = model.Copy();
            return new TextGenerator(copy).Generate(prompt, options).Ids;
        }
        Assert.Equal(Expected(), generator.Generate(prompt, options).Ids);
        Assert.Equal(Expected(), generator.Generate(prompt, options).Ids);
        using (no_grad())
            foreach (var item in model.Parameters) item.Value.add_(randn_like(item.Value) * 0.3);
        var changed = Expected();
        Assert.Equal(changed, generator.Generate(prompt, options).Ids);
        generator.Dispose();
        Assert.Throws<ObjectDisposedException>(() => generator.Generate(prompt, options));
        Assert.Equal(changed, new TextGenerator(model, weightType: ScalarType.BFloat16).Generate(prompt, options).Ids);
    }

    [Fact]
    public void Types_that_weights_are_not_held_in_are_refused_by_name()
    {
        var design = TinyDesigns.Get("inter");
        foreach (var type in new[] { ScalarType.Float16, ScalarType.Float64, ScalarType.Int32 })
        {
            Assert.Equal("weightType", Assert.Throws<ArgumentException>(() => design.CreateModel(weightType: type)).ParamName);
            using var model = design.CreateModel(seed: 1);
            Assert.Equal("weightType", Assert.Throws<ArgumentException>(() => new TextGenerator(model, weightType: type)).ParamName);
        }
        using var table = new HybridArchitectures.Tests.Generation.TableModel(37);
        Assert.Equal("weightType", Assert.Throws<ArgumentException>(() => new TextGenerator(table, weightType: ScalarType.BFloat16)).ParamName);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, false), InlineData(ScalarType.Float32, false)]
    [InlineData(ScalarType.BFloat16, true), InlineData(ScalarType.Float32, true)]
    public void Loading_holds_the_model_and_at_most_one_tensor(ScalarType stored, bool published)
    {
        // two tensors of more than 32 MiB, which the allocator maps alone and returns to the system at once: growth is then the model's
        var design = HybridDesign.Create(1024, 17_000).WithAttention(heads: 8).WithFeedForward(FeedForwardSpec.SwiGlu(64)).Pattern("T").Build() with
        {
            TiedHead = false,
        };
        using (var model = design.CreateBlankModel(ScalarType.Float32, CPU, ScalarType.BFloat16))
        {
            if (published) PretrainedModel.Save(model, folder["big"], "llama", new() { Type = stored });
            else Checkpoint.Save(model, folder["big"], stored);
        }
        GC.Collect();
        HybridLanguageModel? loaded = null;
        long growth = HybridArchitectures.Kernels.Tests.PeakMemory.Growth(() => loaded = published
            ? PretrainedModel.Load(folder["big"], weightType: ScalarType.BFloat16)
            : Checkpoint.Load(folder["big"], weightType: ScalarType.BFloat16));
        using (loaded)
        {
            long bytes = loaded!.State.Values.Sum(value => value.NumberOfElements * value.ElementSize);
            long maxTensorBytes = loaded.State.Values.Max(value => value.NumberOfElements) * (stored == ScalarType.Float32 ? 4 : 2);
            Assert.InRange(growth, bytes / 2, bytes + maxTensorBytes + (32 << 20));
        }
    }
}
