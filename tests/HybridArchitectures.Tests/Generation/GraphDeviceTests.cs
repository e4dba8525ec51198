using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Tests.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

/// <summary>Tests decoding on a GPU. Captured graphs have the results of eager steps, and a row has the same results as alone.</summary>
[Trait("device", "cuda")]
public sealed class GraphDeviceTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose() => scope.Dispose();

    public static TheoryData<string> Names => [.. TinyDesigns.Names.Select(row => row.Data).Where(name => name != "own mixer")];

    static HybridLanguageModel Model(string name)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: decoding was not run on a GPU");
        using var master = TinyDesigns.Model(name);
        using var model = TinyDesigns.Get(name).CreateModel(ScalarType.BFloat16, CUDA);
        using (no_grad())
            foreach (var (key, value) in master.State) model.State[key].copy_(value);
        var held = model.Copy();
        held.eval();
        return held;
    }

    static int[][] Prompts(int count)
    {
        var random = new Random(5);
        return [.. Enumerable.Range(0, count).Select(row => Enumerable.Range(0, 3 + 7 * row).Select(_ => random.Next(37)).ToArray())];
    }

    [Theory, MemberData(nameof(Names))]
    public void Graphs_give_the_tokens_of_eager_steps(string name)
    {
        using var model = Model(name);
        using var generator = new TextGenerator(model);
        for (int round = 0; round < Effort.Choose(everyday: 1, full: 20); round++)
            foreach (var (temperature, rows) in new[] { (0, 1), (0, 3), (0.8, 3) })
            {
                var options = new GenerationOptions { Temperature = temperature, Seed = 9 + round, TopP = 0.95, MaxNewTokens = 70 };
                var graphs = generator.Generate(Prompts(rows), options);
                var eager = generator.Generate(Prompts(rows), options with { CudaGraphs = false });
                for (int row = 0; row < rows; row++)
                    Assert.True(eager[row].Ids.SequenceEqual(graphs[row].Ids), $"{name}, round {round}, temperature {temperature}, "
                        + $"row {row} of {rows}: [{string.Join(" ", eager[row].Ids)}] became [{string.Join(" ", graphs[row].Ids)}]");
            }
    }

    [Fact]
    public void Rows_that_end_leave_the_others_as_they_are()
    {
        using var model = Model("inter");
        using var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 1, Seed = 4, MaxNewTokens = 120, StopTokens = [3, 11] };
        var graphs = generator.Generate(Prompts(9), options);
        var eager = generator.Generate(Prompts(9), options with { CudaGraphs = false });
        Assert.True(graphs.Select(result => result.Ids.Count).Distinct().Count() > 3);
        for (int row = 0; row < graphs.Count; row++)
        {
            Assert.Equal(eager[row].Ids, graphs[row].Ids);
            Assert.Equal(eager[row].FinishReason, graphs[row].FinishReason);
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void A_second_generation_uses_the_graph_of_the_first(string name)
    {
        using var model = Model(name);
        using var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 40 };
        int[][] first = Prompts(3), second = [[5, 6, 7, 8], [1], [2, 30, 4]];
        generator.Generate(first, options);
        // some designs have no captured step
        if (Kept(model) is not { } kept) return;
        using var other = new TextGenerator(model);
        var again = other.Generate(second, options);
        Assert.Same(kept.Loop, Kept(model)!.Loop);
        Assert.Equal(1, kept.Loop.Captures);
        var expected = generator.Generate(second, options with { CudaGraphs = false });
        for (int row = 0; row < second.Length; row++) Assert.Equal(expected[row].Ids, again[row].Ids);
        // other rules select other tokens, and another number of rows has another cache
        generator.Generate(second, options with { Temperature = 0.8, Seed = 3 });
        Assert.NotSame(kept.Loop, Kept(model)!.Loop);
        kept = Kept(model)!;
        generator.Generate(second[..1], options with { Temperature = 0.8, Seed = 3 });
        Assert.NotSame(kept.Loop, Kept(model)!.Loop);
    }

    // what the model keeps for its next generation
    static KeptLoop? Kept(HybridLanguageModel model)
    {
        var kept = (KeptLoop?)model.Keep(null);
        model.Keep(kept);
        return kept;
    }

    [Theory, MemberData(nameof(Names))]
    public void Drafts_and_captured_steps_take_turns(string name)
    {
        using var model = Model(name);
        using var generator = new TextGenerator(model);
        int[][] prompts = [[1, 2, 3, 1, 2, 3, 1, 2], [9, 8], [4, 4, 4, 4]];
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 50, StopTokens = [3, 11] };
        var expected = generator.Generate(prompts, options with { DraftTokens = 3, CudaGraphs = false });
        for (int round = 0; round < 2; round++)
        {
            var actual = generator.Generate(prompts, options with { DraftTokens = 3 });
            for (int row = 0; row < prompts.Length; row++) Assert.Equal(expected[row].Ids, actual[row].Ids);
        }
    }

    // a cache that grows, passes of several numbers of tokens, drafts that are accepted and rejected, and a second generation with the same graphs
    [Theory, InlineData("inter"), InlineData("sliding window"), InlineData("mamba1"), InlineData("gated delta")]
    public void Drafts_are_verified_by_graphs_that_give_the_tokens_of_direct_passes(string name)
    {
        using var model = Model(name);
        using var generator = new TextGenerator(model);
        var random = new Random(11);
        int[][] prompts = [[.. Enumerable.Range(0, 990).Select(i => i % 5 == 0 ? random.Next(37) : i % 7)]];
        foreach (int drafts in new[] { 1, 3, 7 })
        {
            var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 120, DraftTokens = drafts };
            var direct = generator.Generate(prompts, options with { CudaGraphs = false });
            for (int round = 0; round < 2; round++)
            {
                var graphs = generator.Generate(prompts, options);
                Assert.True(direct[0].Ids.SequenceEqual(graphs[0].Ids),
                    $"{name}, {drafts} drafts: [{string.Join(" ", direct[0].Ids)}] became [{string.Join(" ", graphs[0].Ids)}]");
                bool captures = DraftPass.MayCapture(model, 1 + drafts);
                Assert.True(captures || (name, drafts) == ("gated delta", 7), $"{name}, {drafts} drafts");
                Assert.True(!captures || Kept(model)!.Loop.DraftCaptures > 0, $"{name}, {drafts} drafts");
            }
        }
    }

    /// <summary>Also tests designs whose passes <see cref="DraftPass.MayCapture"/> does not permit.</summary>
    [Theory, MemberData(nameof(Names))]
    public void A_captured_pass_gives_the_tokens_and_logits_of_direct_passes(string name)
    {
        using var noGrad = no_grad();
        using var model = Model(name);
        foreach (int width in new[] { 2, 4, 8 })
        {
            if (StepGraph.Refusal(model, 2 * width) is not null) continue;      // the host takes part in the pass
            AssertPassesEqual(model, width, null, name);
        }
    }

    [Theory, InlineData("inter"), InlineData("mamba2"), InlineData("intra difference"), InlineData("lightning attention")]
    public void A_captured_pass_with_bfloat16_states_gives_the_tokens_and_logits_of_direct_passes(string name)
    {
        using var noGrad = no_grad();
        using var model = Model(name);
        AssertPassesEqual(model, 4, ScalarType.BFloat16, name);
    }

    [Theory, InlineData("inter"), InlineData("mamba1"), InlineData("intra difference"), InlineData("lightning attention")]
    public void Graphs_with_bfloat16_states_give_the_tokens_of_eager_steps(string name)
    {
        using var model = Model(name);
        using var generator = new TextGenerator(model);
        foreach (int? drafts in new int?[] { null, 3 })
        {
            var options = new GenerationOptions
            {
                Temperature = 0, MaxNewTokens = 60, DraftTokens = drafts, StateType = ScalarType.BFloat16,
            };
            var expected = generator.Generate(Prompts(3), options with { CudaGraphs = false });
            var actual = generator.Generate(Prompts(3), options);
            for (int row = 0; row < 3; row++) Assert.Equal(expected[row].Ids, actual[row].Ids);
        }
    }

    static void AssertPassesEqual(HybridLanguageModel model, int width, ScalarType? states, string name)
    {
        var (expectedTokens, expected) = Passes(model, width, states, captures: false);
        var (tokens, logits) = Passes(model, width, states, captures: true);
        Assert.Equal(expectedTokens, tokens);
        for (int round = 0; round < logits.Count; round++)
            Assert.True(expected[round].equal(logits[round]).all().item<bool>(), $"{name}, {width} tokens, pass {round}: other logits");
    }

    // the tokens and logits of passes that keep different numbers of tokens, alternating with single steps
    static (List<int> Tokens, List<Tensor> Logits) Passes(HybridLanguageModel model, int width, ScalarType? states, bool captures)
    {
        using var cache = states is { } type ? model.CreateCache(2, type) : model.CreateCache(2);
        cache.CudaGraphs = false;
        cache.Reserve(256);
        using (var context = new SequenceContext(cache: cache))
            model.NextLogits(ones([2, 16], ScalarType.Int64, CUDA), context).Dispose();
        using var scores = zeros([2 * width, model.VocabularySize], ScalarType.Float32, CUDA);
        using var pass = new DraftPass(model, cache, width, values => scores.copy_(values).alias());
        var chosen = new List<int>();
        var logits = new List<Tensor>();
        for (int round = 0; round < 10; round++)
        {
            chosen.AddRange(pass.Run([.. Enumerable.Range(0, 2 * width).Select(token => (5L * round + 3 * token) % 37)], captures));
            logits.Add(scores.clone());
            pass.Keep([1 + round % width, 1 + (round + 1) % width]);
            if (round % 3 != 0) continue;
            using var context = new SequenceContext(cache: cache);
            logits.Add(model.NextLogits(tensor(new long[] { round, 30 - round }, [2, 1], device: CUDA), context));
        }
        Assert.Equal(captures, pass.Captures > 0);
        return (chosen, logits);
    }

    /// <summary>The host reads the sizes of groups that libtorch's kernels do not support, which is an error in a capture.</summary>
    [Theory, InlineData("experts"), InlineData("gated delta")]
    public void Steps_of_more_tokens_than_experts_are_computed_without_a_graph(string name)
    {
        using var model = Model(name);
        using var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 40 };
        var expected = generator.Generate(Prompts(9), options with { CudaGraphs = false });
        var actual = generator.Generate(Prompts(9), options);
        for (int row = 0; row < expected.Count; row++) Assert.Equal(expected[row].Ids, actual[row].Ids);
    }

    /// <summary>A generation that fails with the graph of an earlier one disposed it twice, which ended the process.</summary>
    [Fact]
    public async Task A_generation_that_fails_with_the_graph_of_another_leaves_the_model_usable()
    {
        using var model = Model("inter");
        using var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 40, DraftTokens = 3 };
        var expected = generator.Generate(Prompts(1), options);
        Assert.NotNull(Kept(model));
        var weight = model.AllParameters().First().Value;
        using var values = weight.detach().clone();
        void Write(Tensor value)
        {
            using var noGrad = no_grad();
            weight.copy_(value);
        }
        using var invalid = full_like(values, HybridArchitectures.Kernels.Runtime.Scalars.From(double.NaN));
        // the first fails after some tokens, and the second, which has no graph of an earlier one, with the prompt
        int seen = 0;
        for (int round = 0; round < 2; round++)
            await Assert.ThrowsAsync<InvalidOperationException>(async () =>
            {
                await foreach (var _ in generator.StreamAsync(Prompts(1), options))
                    if (++seen == 5) Write(invalid);
            });
        Write(values);
        Assert.Equal(expected[0].Ids, generator.Generate(Prompts(1), options)[0].Ids);
    }

    [Fact]
    public void A_graph_is_kept_when_rows_end_at_different_times_and_follows_changed_weights()
    {
        using var model = Model("inter");
        using var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 1, Seed = 4, MaxNewTokens = 120 };
        var endless = generator.Generate(Prompts(9), options);
        // a token with which most rows end, but none at once
        int stop = Enumerable.Range(0, 37).First(id => endless.All(row => row.Ids[0] != id) && endless.Count(row => row.Ids.Contains(id)) > 6);
        options = options with { StopTokens = [stop] };
        for (int round = 0; round < 3; round++)
        {
            var kept = Kept(model);
            var results = generator.Generate(Prompts(9), options);
            // with the changed weights of the last round, a row can end with its first token
            if (round < 2) Assert.Equal(9, Kept(model)!.Cache.Batch);
            if (round == 1) Assert.Same(kept!.Loop, Kept(model)!.Loop);
            var eager = generator.Generate(Prompts(9), options with { CudaGraphs = false });
            for (int row = 0; row < 9; row++) Assert.Equal(eager[row].Ids, results[row].Ids);
            using var noGrad = no_grad();
            if (round == 1)
                foreach (var (_, value, _) in model.AllParameters()) value.mul_(HybridArchitectures.Kernels.Runtime.Scalars.From(0.9));
        }
    }

    [Theory, InlineData("inter"), InlineData("sliding window"), InlineData("mamba1")]
    public void A_graph_follows_a_growing_cache_a_rewind_and_a_fork(string name)
    {
        using var noGrad = no_grad();
        using var model = Model(name);
        var results = new List<Tensor>[] { [], [] };
        foreach (bool captured in new[] { false, true })
        {
            using var cache = model.CreateCache(2);
            cache.CudaGraphs = false;
            using var loop = new GreedyLoop(model, cache, captured);
            var logits = results[captured ? 1 : 0];
            logits.Add(loop.Steps(300));
            using (var snapshot = cache.Snapshot())
            {
                logits.Add(loop.Steps(20));
                cache.Rewind(snapshot);
                loop.Ids.fill_(HybridArchitectures.Kernels.Runtime.Scalars.Two);
                logits.Add(loop.Steps(20));
            }
            logits.Add(loop.Steps(300));
            Assert.Equal(620, cache.Lengths[1]);
            if (captured) Assert.True(loop.Graph.Captures >= (name == "inter" ? 2 : 1) && loop.Graph.Nodes > 0);
        }
        for (int i = 0; i < results[0].Count; i++) Assert.True(results[0][i].equal(results[1][i]).all().item<bool>(), $"{name}, result {i}");
    }

    /// <summary>Decodes two rows greedily from token 1, with a captured graph or directly.</summary>
    sealed class GreedyLoop : IDisposable
    {
        readonly HybridLanguageModel model;
        readonly HybridCache cache;
        readonly bool captured;
        Tensor? logits;

        public GreedyLoop(HybridLanguageModel model, HybridCache cache, bool captured)
        {
            (this.model, this.cache, this.captured) = (model, cache, captured);
            Graph = new StepGraph(cache, Body);
        }

        public StepGraph Graph { get; }

        public Tensor Ids { get; } = ones([2, 1], ScalarType.Int64, CUDA);

        /// <summary>Returns the logits after the last of several steps.</summary>
        public Tensor Steps(int count)
        {
            for (int step = 0; step < count; step++)
            {
                if (captured) Graph.Step();
                else Body();
            }
            return logits!.clone();
        }

        void Body()
        {
            using var context = new SequenceContext(cache: cache);
            using var next = model.NextLogits(Ids, context);
            if (logits is null) logits = next.clone().DetachFromDisposeScope();
            else logits.copy_(next);
            Ids.copy_(next.argmax(1).unsqueeze(1));
        }

        public void Dispose()
        {
            Graph.Dispose();
            logits?.Dispose();
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void A_loop_over_next_logits_gives_the_same_logits_with_a_graph(string name)
    {
        using var noGrad = no_grad();
        using var model = Model(name);
        var results = new List<Tensor>[] { [], [] };
        foreach (bool captured in new[] { false, true })
        {
            using var cache = model.CreateCache(2);
            cache.CudaGraphs = captured;
            Tensor Next(Tensor ids)
            {
                using var context = new SequenceContext(cache: cache);
                return model.NextLogits(ids, context);
            }
            var ids = Next(ones([2, 7], ScalarType.Int64, CUDA)).argmax(1, keepdim: true);
            for (int step = 0; step < 300; step++)
            {
                var logits = Next(ids);
                results[captured ? 1 : 0].Add(logits);
                ids = logits.argmax(1, keepdim: true);
                if (step == 100)
                {
                    using var snapshot = cache.Snapshot();
                    for (int i = 0; i < 5; i++) Next(ids);
                    cache.Rewind(snapshot);
                }
            }
            Assert.Equal(captured && StepGraph.Refusal(model, 2) is null, cache.NextStep is not null);
            Assert.Equal(307, cache.Lengths[1]);
            if (captured) AssertFollowsChangedWeights(model, cache, ids, name);
        }
        var different = Enumerable.Range(0, results[0].Count).Where(i => !results[0][i].equal(results[1][i]).all().item<bool>()).ToArray();
        Assert.True(different.Length == 0, $"{name}: other logits in {different.Length} steps, first in step {different.FirstOrDefault()}");
    }

    static void AssertFollowsChangedWeights(HybridLanguageModel model, HybridCache cache, Tensor ids, string name)
    {
        foreach (var (_, value, _) in model.AllParameters()) value.mul_(HybridArchitectures.Kernels.Runtime.Scalars.From(0.75));
        using var eager = cache.Fork();
        eager.CudaGraphs = false;
        using var eagerContext = new SequenceContext(cache: eager);
        using var context = new SequenceContext(cache: cache);
        var (expected, actual) = (model.NextLogits(ids, eagerContext), model.NextLogits(ids, context));
        Assert.True(expected.isfinite().all().item<bool>(), $"{name}: logits are not finite");
        Assert.True(expected.equal(actual).all().item<bool>(),
            $"{name}: changed weights are not followed, {(expected - actual).abs().max().item<float>()}");
    }

    [Theory, InlineData("inter"), InlineData("sliding window"), InlineData("mamba1"), InlineData("intra difference"), InlineData("gated delta")]
    public void The_logits_of_a_row_do_not_depend_on_the_other_rows(string name)
    {
        using var noGrad = no_grad();
        using var model = Model(name);
        var prompts = Prompts(5);
        HybridCache Read(int row)
        {
            var cache = model.CreateCache(1);
            using var context = new SequenceContext(cache: cache);
            model.NextLogits(tensor(prompts[row].Select(id => (long)id).ToArray(), [1, prompts[row].Length], device: CUDA), context).Dispose();
            return cache;
        }
        Tensor Step(HybridCache cache, params long[] ids)
        {
            using var context = new SequenceContext(cache: cache);
            return model.NextLogits(tensor(ids, [ids.Length, 1], device: CUDA), context);
        }
        var caches = Enumerable.Range(0, 5).Select(Read).ToArray();
        var together = caches.Skip(1).Aggregate(caches[0].Fork(), (all, one) => all.Append(one));
        for (int step = 0; step < 6; step++)
        {
            long[] ids = [.. Enumerable.Range(0, 5).Select(row => (long)(row * 7 + step))];
            var all = Step(together, ids);
            for (int row = 0; row < 5; row++)
                Assert.True(Step(caches[row], ids[row])[0].equal(all[row]).all().item<bool>(), $"{name}, row {row}, step {step}");
        }
    }
}
