using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Tests.Checkpoints;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public sealed class DisposedTests : IDisposable
{
    readonly TemporaryFolder folder = new();
    readonly Tensor ids = zeros([1, 3], ScalarType.Int64);

    public void Dispose()
    {
        ids.Dispose();
        folder.Dispose();
    }

    static HybridLanguageModel Model() =>
        HybridDesign.Create(16, 20).WithAttention(heads: 2).WithMamba2(stateSize: 8, headSize: 8)
            .WithFeedForward(FeedForwardSpec.SwiGlu(24)).Depth(2).Ratio(attention: 1, ssm: 1).Build().CreateModel(seed: 1);

    static void Refuses(params Action[] calls)
    {
        foreach (var (number, call) in calls.Index())
        {
            var error = Record.Exception(call);
            Assert.True(error is ObjectDisposedException, $"call {number}: {error?.ToString() ?? "nothing was thrown"}");
        }
    }

    [Fact]
    public void Every_method_of_a_disposed_model_says_so()
    {
        var model = Model();
        var stack = model.Stack;
        var block = stack.Blocks[0];
        using var hidden = zeros(1, 3, 16);
        using var context = new SequenceContext();
        model.Dispose();
        Refuses(() => model.Forward(ids), () => model.NextLogits(ids), () => model.Hidden(ids), () => model.Logits(hidden),
            () => model.Loss(ids, ids), () => model.TokenLosses(ids, ids), () => model.AfterStep(), () => model.CreateCache(1),
            () => _ = model.State, () => _ = model.Parameters, () => _ = model.Embedding, () => _ = model.Head, () => _ = model.Device,
            () => stack.Forward(hidden), () => stack.CreateCache(1), () => stack.AfterStep(), () => block.Forward(hidden, context, null),
            () => LoraAdapters.Attach(model), () => Checkpoint.Save(model, folder["model"]), () => Checkpoint.LoadInto(model, folder["model"]),
            () => Checkpoint.Write(model, folder.Path));
        Assert.False(Directory.Exists(folder["model"]));
        model.Dispose();
    }

    [Fact]
    public void Saving_a_disposed_model_leaves_the_saved_one()
    {
        var model = Model();
        Checkpoint.Save(model, folder["model"]);
        var before = File.ReadAllBytes(folder["model/model.safetensors"]);
        model.Dispose();
        Refuses(() => Checkpoint.Save(model, folder["model"]));
        Assert.Equal(before, File.ReadAllBytes(folder["model/model.safetensors"]));
        Assert.Equal(["model"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void A_model_that_has_lost_a_tensor_is_not_saved_over_a_whole_one()
    {
        using var model = Model();
        Checkpoint.Save(model, folder["model"]);
        var before = File.ReadAllBytes(folder["model/model.safetensors"]);
        model.Stack.Blocks[1].FeedForward!.Dispose();
        Assert.ThrowsAny<InvalidOperationException>(() => Checkpoint.Save(model, folder["model"]));
        Assert.Equal(before, File.ReadAllBytes(folder["model/model.safetensors"]));
    }

    [Fact]
    public void Every_method_of_a_disposed_cache_says_so()
    {
        using var model = Model();
        using var other = model.CreateCache(1);
        var cache = model.CreateCache(1);
        var snapshot = cache.Snapshot();
        cache.Dispose();
        Refuses(() => cache.Select(0), () => cache.Fork(), () => cache.Fork(2), () => cache.Drop(0), () => cache.Append(other),
            () => other.Append(cache), () => cache.Trim(),
            () => cache.Snapshot(), () => cache.Rewind(snapshot), () => cache.Save(folder["cache"]), () => _ = cache.Bytes, () =>
            {
                using var context = new SequenceContext(cache: cache);
                model.Forward(ids, context);
            });
        snapshot.Dispose();
        Refuses(() => _ = snapshot.Bytes);
        Assert.False(File.Exists(folder["cache"]));
    }

    [Fact]
    public void Every_method_of_a_disposed_state_says_so()
    {
        using var scope = NewDisposeScope();
        var rows = zeros([1], ScalarType.Int64);
        foreach (var make in new Func<MixerState>[]
        {
            () => new KeyValueState(1, 2, 4, 4, ScalarType.Float32, CPU), () => new WindowState(1, 3, 1, 2, 4, 4, ScalarType.Float32, CPU),
            () => new ConvolutionState(zeros(1, 3, 4)), () => new RecurrentState(zeros(1, 3, 4), zeros(1, 2, 4)),
            () => new LinearAttentionState(zeros(1, 2, 4, 4)),
            () => new CombinedState(new KeyValueState(1, 2, 4, 4, ScalarType.Float32, CPU), new ConvolutionState(zeros(1, 3, 4))),
        })
        {
            var (state, other) = (make(), make());
            var snapshot = state.Snapshot();
            Assert.Equal("rows", Assert.Throws<ArgumentNullException>(() => state.Select(null!)).ParamName);
            state.Dispose();
            Refuses(() => state.Select(rows), () => state.Append(other), () => other.Append(state), () => state.Snapshot(), () => _ = state.Bytes,
                () => state.Save([0]), () => state.Restore([.. other.Save([0])], [0]));
            if (snapshot.Tensors.Count > 0) Refuses(() => state.Rewind(snapshot));
        }
    }

    [Fact]
    public void Adapters_taken_off_or_of_a_disposed_model_say_so()
    {
        var model = Model();
        var adapters = LoraAdapters.Attach(model);
        model.Dispose();
        Refuses(() => adapters.Merge(), () => adapters.Unmerge(), () => adapters.Save(folder["lora"]), () => adapters.Coverage(),
            () => adapters.SeedDropout(1));
        adapters.Dispose();
        Refuses(() => adapters.Merge());
        Assert.False(File.Exists(folder["lora"]));
    }

    [Fact]
    public void A_disposed_factory_draws_from_no_other_generator()
    {
        var factory = new ModuleFactory(Model().Design, CPU, 1);
        factory.Dispose();
        Refuses(() => factory.Normal(1, 2, 2), () => factory.Uniform(0, 1, 2), () => factory.Projection(2, 2));
    }
}
