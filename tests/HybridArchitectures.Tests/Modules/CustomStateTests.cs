using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>
/// States of custom mixers that hold plain tensors: made in <c>CreateState</c>, replaced in <c>Forward</c>, copied by <c>Select</c>.
/// </summary>
public sealed class CustomStateTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static HybridLanguageModel Model() => new HybridDesign
    {
        Width = 8, VocabularySize = 11, Blocks = [new BlockSpec { Mixer = new DecaySpec(), FeedForward = FeedForwardSpec.SwiGlu(12) },
            new BlockSpec { Mixer = new DecaySpec() }],
    }.Resolve().CreateModel(seed: 3);

    static Tensor Ids(int length) => tensor(Enumerable.Range(0, length).Select(i => (long)(i * 7 % 11)).ToArray()).view(1, length);

    static void Same(Tensor expected, Tensor actual)
    {
        using var scope = NewDisposeScope();
        Assert.True((expected - actual).abs().max().item<float>() < 1e-5);
    }

    static Tensor Read(HybridLanguageModel model, HybridCache cache, Tensor ids)
    {
        using var context = new SequenceContext(cache: cache);
        return model.Forward(ids, context);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Plain_tensors_in_a_state_outlive_the_pass_that_makes_them(bool inUsersScope)
    {
        using var around = inUsersScope ? NewDisposeScope() : null;
        using var model = Model();
        using var ids = Ids(9);
        using var noGrad = no_grad();
        using var whole = model.Forward(ids);
        HybridCache cache;
        using (NewDisposeScope())
        {
            cache = model.CreateCache(1);
        }
        for (int t = 0; t < 9; t++)
        {
            using var inner = NewDisposeScope();
            Same(whole[.., t..(t + 1)], Read(model, cache, ids[.., t..(t + 1)]));
        }
        cache.Dispose();
    }

    [Fact]
    public void Forks_joined_rows_snapshots_and_files_of_such_a_state_live_on()
    {
        using var around = NewDisposeScope();
        using var model = Model();
        using var noGrad = no_grad();
        var ids = Ids(9);
        var whole = model.Forward(ids);
        using var cache = model.CreateCache(1);
        Read(model, cache, ids[.., ..4]);
        using var snapshot = cache.Snapshot();
        HybridCache fork, both;
        using (NewDisposeScope())
        {
            fork = cache.Fork(2);
            both = fork.Append(cache);
        }
        cache.Save(folder["cache"]);
        foreach (var copy in new[] { fork, both })
            Same(whole[.., 4..].expand(copy.Batch, -1, -1), Read(model, copy, ids[.., 4..].expand(copy.Batch, -1).contiguous()));
        Read(model, cache, ids[.., 4..6]);
        cache.Rewind(snapshot);
        Same(whole[.., 4..], Read(model, cache, ids[.., 4..]));
        using var loaded = model.LoadCache(folder["cache"]);
        Same(whole[.., 4..], Read(model, loaded, ids[.., 4..]));
        fork.Dispose();
        both.Dispose();
    }

    static readonly Device meta = new("meta");

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void States_are_on_the_requested_device(string name)
    {
        using var model = TinyDesigns.Model(name);
        foreach (var block in model.Stack.Blocks)
        {
            using var state = block.CreateState(2, ScalarType.Float32, meta);
            Assert.All(state?.Tensors ?? [], tensor => Assert.Equal(DeviceType.META, tensor.device_type));
        }
    }

    [Fact]
    public void A_mixer_with_a_tensor_on_another_device_is_refused_in_one_sentence()
    {
        Assert.SkipWhen(UnderWine.IsOn, "under Wine an exception out of libtorch leaves gradients off on its thread");
        using var scope = NewDisposeScope();
        using var mixer = new FaultyMixer(x => x.add(zeros([1, 3, 8])));
        using var context = new SequenceContext();
        var message = Assert.Throws<InvalidOperationException>(
            () => CustomMixing.Forward(mixer, zeros([1, 3, 8], device: meta), context, null)).Message;
        Assert.StartsWith("FaultyMixer.Forward uses tensors of several devices; expected all on meta, the device of x. Pass x.device", message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void What_a_mixer_returns_has_the_shape_and_device_of_its_input()
    {
        using var scope = NewDisposeScope();
        using var context = new SequenceContext();
        string Refused(Func<Tensor, Tensor?> forward)
        {
            using var mixer = new FaultyMixer(forward);
            return Assert.Throws<InvalidOperationException>(() => CustomMixing.Forward(mixer, zeros([1, 3, 8]), context, null)).Message;
        }
        // would be added to every position without a word
        Assert.Contains("of shape (1, 1, 8); expected (1, 3, 8)", Refused(x => x[.., ..1]));
        Assert.Contains("returned null", Refused(_ => null));
        Assert.Contains("a tensor that is on meta; expected cpu", Refused(x => x.to(meta)));
    }

    [Fact]
    public void A_state_on_another_device_is_refused_where_it_is_made()
    {
        using var scope = NewDisposeScope();
        using var mixer = new FaultyMixer(x => x);
        var state = mixer.CreateState(1, ScalarType.Float32, meta);
        Assert.Equal("FaultyMixer.CreateState returned a state whose tensor 0 is on cpu; expected meta. Pass the device to calls such as zeros.",
            Assert.Throws<InvalidOperationException>(() => CustomMixing.RequireDevice(mixer, nameof(Mixer.CreateState), state, meta)).Message);
        Assert.Same(state, CustomMixing.RequireDevice(mixer, nameof(Mixer.CreateState), state, CPU));
    }

    sealed class FaultyMixer(Func<Tensor, Tensor?> forward) : Mixer(nameof(FaultyMixer))
    {
        public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state) => forward(x)!;

        // without its argument
        public override MixerState CreateState(int batch, ScalarType compute, Device device) => new DecayState(zeros([batch, 8], compute));
    }

    [Fact]
    public void Tensors_that_a_pass_replaces_are_freed()
    {
        using var around = NewDisposeScope();
        using var model = Model();
        using var noGrad = no_grad();
        using var cache = model.CreateCache(1);
        var ids = Ids(1);
        var before = cache.States[0]!.Tensors[0];
        using (NewDisposeScope()) Read(model, cache, ids);
        Assert.True(before.IsInvalid);
        Assert.False(cache.States[0]!.Tensors[0].IsInvalid);
    }
}
