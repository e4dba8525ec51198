using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

/// <summary>
/// Tests decoding steps whose lengths and positions are tensors, as on a GPU, in main memory. They have the results of steps with numbers of the
/// host.
/// </summary>
public sealed class DeviceStepTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose() => scope.Dispose();

    public static TheoryData<string> Names => TinyDesigns.Names;

    static Tensor Step(HybridLanguageModel model, HybridCache cache, long[] ids)
    {
        using var context = new SequenceContext(cache: cache);
        return model.NextLogits(tensor(ids, [ids.Length, 1]), context);
    }

    static void Read(HybridLanguageModel model, HybridCache cache, Tensor ids, params long[] lengths)
    {
        using var layout = HybridArchitectures.Kernels.SequenceLayout.Padded(lengths, ids.size(1));
        using var context = new SequenceContext(layout, cache);
        model.Forward(ids, context).Dispose();
    }

    static void Near(Tensor expected, Tensor actual, string what)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.True(expected.allclose(actual, 2e-4, 2e-4), $"{what}: differ by {(expected - actual).abs().max().item<float>()}");
    }

    [Theory, MemberData(nameof(Names))]
    public void Steps_are_those_of_the_host(string name)
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        model.eval();
        using HybridCache host = model.CreateCache(3), device = model.CreateCache(3);
        Assert.True(device.StepsOnDevice);
        host.StepsOnDevice = false;
        var prompt = randint(0, 37, [3, 9], int64);
        foreach (var cache in new[] { host, device }) Read(model, cache, prompt, 9, 0, 4);
        for (int step = 0; step < 12; step++)
        {
            long[] ids = [step, 36 - step, 7];
            Near(Step(model, host, ids), Step(model, device, ids), $"{name}, step {step}");
        }
        Assert.Equal(host.Lengths, device.Lengths);
    }

    /// <summary>A graph repeats a step with the lengths that the host had at the capture. Mixers whose steps read them are refused.</summary>
    [Theory, MemberData(nameof(Names))]
    public void Steps_can_be_captured_exactly_if_they_read_no_length_of_the_host(string name)
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        model.eval();
        var mixers = model.AllModules().OfType<Mixer>().ToArray();
        if (mixers.Any(mixer => mixer.GetType().Assembly != typeof(Mixer).Assembly)) return;       // custom mixers are always refused
        using HybridCache host = model.CreateCache(2), device = model.CreateCache(2);
        host.StepsOnDevice = false;
        device.Reserve(64);
        var prompt = randint(0, 37, [2, 9], int64);
        foreach (var cache in new[] { host, device }) Read(model, cache, prompt, 9, 4);
        long[] captured = [.. device.Lengths];
        bool repeats = true;
        for (int step = 0; step < 6; step++)
        {
            captured.CopyTo((long[])device.Lengths, 0);
            long[] ids = [step, 36 - step];
            repeats &= Step(model, host, ids).allclose(Step(model, device, ids), 2e-4, 2e-4);
        }
        Assert.Equal(repeats, mixers.All(mixer => StepGraph.Refusal(mixer) is null));
    }

    // a graph of such a model would have no state whose device it could use
    [Fact]
    public void Steps_of_blocks_without_states_are_not_captured_and_generate_the_same()
    {
        HybridDesignBuilder start = HybridDesign.Create(16, 37).WithFeedForward(FeedForwardSpec.SwiGlu(24)).Pattern("--");
        using var model = start.Build().CreateModel(seed: 1);
        Assert.Equal("no block has a state", StepGraph.Refusal(model, rows: 2));
        using var shifted = start.WithFeedForward(new MlpSpec(24) { TokenShift = true }).Build().CreateModel(seed: 1);
        Assert.NotEqual("no block has a state", StepGraph.Refusal(shifted, rows: 2));
        foreach (var one in new[] { model, shifted })
        {
            var generator = new TextGenerator(one);
            int[][] prompts = [[3], [1, 2, 3, 4, 5]];
            var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 9 };
            var expected = prompts.Select(prompt => generator.Generate(prompt, options).Ids);
            Assert.Equal(expected, generator.Generate(prompts, options with { DraftTokens = 3 }).Select(result => result.Ids));
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Rows_leave_join_fork_and_go_back_between_steps(string name)
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        model.eval();
        var results = new List<Tensor>[] { [], [] };
        foreach (bool onDevice in new[] { false, true })
        {
            var logits = results[onDevice ? 1 : 0];
            using var first = model.CreateCache(2);
            first.StepsOnDevice = onDevice;
            Read(model, first, tensor(new long[] { 1, 2, 3, 4, 5, 6 }, [2, 3]), 3, 2);
            logits.Add(Step(model, first, [7, 8]));
            using var snapshot = first.Snapshot();
            logits.Add(Step(model, first, [9, 10]));
            logits.Add(Step(model, first, [11, 12]));
            first.Rewind(snapshot);
            logits.Add(Step(model, first, [13, 14]));
            using var other = model.CreateCache(1);
            other.StepsOnDevice = onDevice;
            Read(model, other, tensor(new long[] { 30, 31, 32, 33, 34 }, [1, 5]), 5);
            using var joined = first.Append(other);
            Assert.Equal(onDevice, joined.StepsOnDevice);
            logits.Add(Step(model, joined, [15, 16, 17]));
            using var forked = joined.Select(2, 0, 2);
            logits.Add(Step(model, forked, [18, 19, 20]));
            // a prompt in between goes by the host's numbers again
            Read(model, forked, tensor(new long[] { 21, 22, 23, 24, 25, 26 }, [3, 2]), 2, 1, 2);
            logits.Add(Step(model, forked, [27, 28, 29]));
            using var fewer = forked.Drop(1);
            logits.Add(Step(model, fewer, [1, 2]));
        }
        for (int i = 0; i < results[0].Count; i++) Near(results[0][i], results[1][i], $"{name}, result {i}");
    }

    [Fact]
    public void Reserved_room_keeps_the_addresses_of_a_step()
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model("inter");
        using var cache = model.CreateCache(1);
        Step(model, cache, [1]).Dispose();
        cache.Reserve(600);
        nint[] Addresses() => [.. cache.States.SelectMany(state =>
            state?.Tensors ?? []).Select(HybridArchitectures.Kernels.Runtime.TensorMemory.Pointer)];
        var (before, epoch) = (Addresses(), cache.Epoch);
        for (int step = 0; step < 300; step++) Step(model, cache, [step % 37]).Dispose();
        Assert.Equal(before, Addresses());
        Assert.Equal(epoch, cache.Epoch);
    }

    public static TheoryData<string> WithoutCustom => [.. TinyDesigns.Names.Select(row => row.Data).Where(name => name != "own mixer")];

    [Theory, MemberData(nameof(WithoutCustom))]
    public void A_stepwise_pass_equals_its_steps_and_can_be_rewound(string name)
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        model.eval();
        using HybridCache single = model.CreateCache(2), several = model.CreateCache(2);
        foreach (var cache in new[] { single, several }) Read(model, cache, tensor(new long[] { 1, 2, 3, 4, 5, 6, 7, 8 }, [2, 4]), 4, 2);
        var ids = randint(0, 37, [2, 5], int64);
        var expected = Enumerable.Range(0, 5).Select(token => Step(model, single, [ids[0, token].item<long>(), ids[1,
            token].item<long>()])).ToArray();
        using (var context = new SequenceContext(cache: several) { IsStepwise = true })
        {
            var actual = model.Forward(ids, context);
            for (int token = 0; token < 5; token++) Near(expected[token], actual.select(1, token), $"{name}, token {token}");
        }
        // rows keep different numbers of tokens, and go on as if the others had never been
        several.KeepTokens([2, 5], 5);
        Assert.Equal([6L, 7L], several.Lengths);
        using var first = model.CreateCache(1);
        Read(model, first, tensor(new long[] { 1, 2, 3, 4 }, [1, 4]), 4);
        for (int token = 0; token < 2; token++) Step(model, first, [ids[0, token].item<long>()]).Dispose();
        var next = Step(model, several, [9, 10]);
        Near(Step(model, first, [9])[0], next[0], $"{name}, the row that went back");
        using var second = single.Select(1);
        Near(Step(model, second, [10])[0], next[1], $"{name}, the row that did not");
    }

    /// <summary>A captured pass writes its copies of the states again whenever it is launched, so its owner uses them several times.</summary>
    [Theory, MemberData(nameof(WithoutCustom))]
    public void Copies_that_are_taken_from_a_pass_are_not_disposed_and_not_changed_by_later_passes(string name)
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        model.eval();
        using HybridCache cache = model.CreateCache(2), other = model.CreateCache(2);
        foreach (var each in new[] { cache, other }) Read(model, each, tensor(new long[] { 1, 2, 3, 4, 5, 6, 7, 8 }, [2, 4]), 4, 2);
        long[] ids = [4, 9, 2, 7, 1, 3, 5, 8];
        using var snapshot = cache.Snapshot();
        Stepwise(model, cache, ids);
        long bytes = cache.CopyBytes;
        var copies = cache.TakeCopies();
        Assert.Equal(bytes, copies.Sum(one => one?.Bytes ?? 0));
        Assert.Equal(0, cache.CopyBytes);
        cache.Rewind(snapshot);
        Stepwise(model, cache, [7, 7, 7, 7, 7, 7, 7, 7]);           // a pass of another graph, with separate copies
        cache.KeepTokens([1, 1], 4);
        cache.Rewind(snapshot);
        foreach (int[] counts in new int[][] { [1, 3], [4, 2] })
        {
            Stepwise(model, cache, ids);
            cache.TakeCopies().ToList().ForEach(one => one?.Dispose());
            cache.KeepTokens(counts, 4, copies, () => cache.Replay(copies, tensor(counts.Select(count => (long)count).ToArray())));
            using var expected = other.Fork();
            Stepwise(model, expected, ids);
            expected.KeepTokens(counts, 4);
            Assert.Equal(expected.Lengths, cache.Lengths);
            Near(Step(model, expected, [9, 10]), Step(model, cache, [9, 10]), $"{name}, {counts[0]} and {counts[1]}");
            cache.Rewind(snapshot);
        }
        foreach (var one in copies) one?.Dispose();
    }

    /// <summary>The tokens of a pass are processed again from the state before it, so there is no copy of the state for each token.</summary>
    [Fact]
    public void A_stepwise_pass_saves_the_states_before_it_and_the_inputs_of_its_tokens()
    {
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model("mamba2 limits");       // one block, with a convolution of two taps
        model.eval();
        using var cache = model.CreateCache(2);
        Stepwise(model, cache, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        var state = (RecurrentState)cache.States[0]!;
        long input = 2 * state.Convolution.size(2) * sizeof(float), scan = state.Scan.NumberOfElements * sizeof(float);
        var spec = (Mamba2Spec)model.Design.Blocks[0].Mixer!;
        // x, dt, B and C of a token
        long token = 2 * (spec.InnerWidth + spec.Heads + 2 * spec.Groups * spec.StateSize) * sizeof(float);
        Assert.Equal((1 + 5) * input + scan + 5 * token, cache.CopyBytes);
        cache.KeepTokens([5, 5], 5);
        Assert.Equal(0, cache.CopyBytes);
    }

    static void Stepwise(HybridLanguageModel model, HybridCache cache, long[] ids)
    {
        using var context = new SequenceContext(cache: cache) { IsStepwise = true };
        model.Forward(tensor(ids, [2, ids.Length / 2]), context).Dispose();
    }
}
