using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public sealed class HybridCacheTests : IDisposable
{
    // float32 sums in another order, after a few layers
    const double Tolerance = 2e-4;

    readonly DisposeScope scope = NewDisposeScope();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    static void Same(Tensor expected, Tensor actual, string what)
    {
        Assert.Equal(expected.shape, actual.shape);
        double error = (expected - actual).abs().max().item<float>(), scale = Math.Max(1, expected.abs().max().item<float>());
        Assert.True(error / scale < Tolerance, $"{what}: differs by {error:g3}");
    }

    static Tensor Ids(int rows, int length, int seed = 1)
    {
        manual_seed(seed);
        return randint(37, [rows, length], ScalarType.Int64);
    }

    static Tensor Read(LanguageModel model, HybridCache cache, Tensor ids, IReadOnlyList<long>? lengths = null)
    {
        using var layout = lengths is null ? null : SequenceLayout.Padded(lengths, ids.size(1));
        using var context = new SequenceContext(layout, cache);
        return model.Forward(ids, context);
    }

    static Tensor Alone(LanguageModel model, params Tensor[] parts)
    {
        using var noGrad = no_grad();
        return model.Forward(cat(parts, 1));
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void A_cleared_cache_is_as_a_new_one(string name)
    {
        if (name == "own mixer") return;            // its empty state is its own affair
        using var model = TinyDesigns.Model(name);
        using HybridCache cache = model.CreateCache(2), fresh = model.CreateCache(2);
        Read(model, cache, Ids(2, 30, seed: 3));
        cache.Clear();
        Assert.Equal([0L, 0], cache.Lengths);
        var ids = Ids(2, 7);
        for (int at = 0; at < 7; at += at == 0 ? 4 : 1)
        {
            var part = ids.narrow(1, at, at == 0 ? 4 : 1);
            Assert.True(Read(model, fresh, part).equal(Read(model, cache, part)).all().item<bool>(), $"{name}, token {at}");
        }
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void One_prompt_serves_many_continuations(string name)
    {
        using var model = TinyDesigns.Model(name);
        var (prompt, endings) = (Ids(1, 9), Ids(3, 4, seed: 2));
        using var cache = model.CreateCache(1);
        Read(model, cache, prompt);
        using var fork = cache.Fork(3);
        Assert.Equal([9L, 9, 9], fork.Lengths);
        var logits = cat([Read(model, fork, endings.narrow(1, 0, 3)), Read(model, fork, endings.narrow(1, 3, 1))], 1);
        for (int row = 0; row < 3; row++)
            Same(Alone(model, prompt, endings.narrow(0, row, 1)).narrow(1, 9, 4), logits.narrow(0, row, 1), $"continuation {row}");
        // the prompt's own cache has not moved
        Same(Alone(model, prompt, endings.narrow(0, 0, 1)).narrow(1, 9, 4), Read(model, cache, endings.narrow(0, 0, 1)), "the prompt itself");
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void A_cache_goes_back_to_a_snapshot_as_often_as_wanted(string name)
    {
        using var model = TinyDesigns.Model(name);
        var (prompt, first, second) = (Ids(2, 7), Ids(2, 6, seed: 2), Ids(2, 5, seed: 3));
        using var cache = model.CreateCache(2);
        Read(model, cache, prompt, [7, 4]);
        using var snapshot = cache.Snapshot();
        foreach (var continuation in new[] { first, second, first })
        {
            var logits = cat([Read(model, cache, continuation.narrow(1, 0, 1)),
                Read(model, cache, continuation.narrow(1, 1, continuation.size(1) - 1))], 1);
            Same(Alone(model, prompt.narrow(0, 0, 1), continuation.narrow(0, 0, 1)).narrow(1, 7, continuation.size(1)), logits.narrow(0, 0, 1),
                "row 0");
            Same(Alone(model, prompt.narrow(0, 1, 1).narrow(1, 0, 4), continuation.narrow(0, 1, 1)).narrow(1, 4, continuation.size(1)),
                logits.narrow(0, 1, 1), "row 1");
            cache.Rewind(snapshot);
            Assert.Equal([7L, 4], cache.Lengths);
        }
    }

    [Fact]
    public void A_snapshot_behind_which_the_cache_went_back_is_void()
    {
        using var model = TinyDesigns.Model("inter");
        using var cache = model.CreateCache(1);
        using var other = model.CreateCache(1);
        using var early = cache.Snapshot();
        Read(model, cache, Ids(1, 3));
        using var late = cache.Snapshot();
        var gone = cache.Snapshot();
        gone.Dispose();
        Assert.Contains("disposed", Assert.Throws<InvalidOperationException>(() => cache.Rewind(gone)).Message);
        cache.Rewind(late);
        cache.Rewind(early);
        Assert.Contains("void", Assert.Throws<InvalidOperationException>(() => cache.Rewind(late)).Message);
        using var afterwards = cache.Snapshot();
        cache.Rewind(afterwards);
        cache.Rewind(early);
        Assert.Throws<ArgumentException>("snapshot", () => other.Rewind(early));
    }

    [Fact]
    public void A_snapshot_of_attention_costs_nothing_and_one_of_a_state_its_size()
    {
        using var attention = TinyDesigns.Model("transformer");
        using var mamba = TinyDesigns.Model("mamba2");
        foreach (var (model, free) in new[] { (attention, true), (mamba, false) })
        {
            using var cache = model.CreateCache(2);
            Read(model, cache, Ids(2, 30));
            using var snapshot = cache.Snapshot();
            Assert.Equal(free ? 0 : cache.Bytes, snapshot.Bytes);
        }
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void A_saved_cache_continues_as_if_it_had_stayed(string name)
    {
        using var model = TinyDesigns.Model(name);
        var (prompts, more) = (Ids(3, 8), Ids(3, 3, seed: 2));
        using var cache = model.CreateCache(3);
        Read(model, cache, prompts, [8, 2, 5]);
        Read(model, cache, more.narrow(1, 0, 1));           // grown by a token: what is spare is not saved
        cache.Save(folder["cache"]);
        using var restored = model.LoadCache(folder["cache"]);
        Assert.Equal(cache.Lengths, restored.Lengths);
        var (expected, actual) = (Read(model, cache, more.narrow(1, 1, 2)), Read(model, restored, more.narrow(1, 1, 2)));
        Assert.True(expected.equal(actual).all().item<bool>());
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Rows_leave_and_join_a_running_batch_and_none_notices(string name)
    {
        using var model = TinyDesigns.Model(name);
        // five prompts of unequal length: 0, 1, 2 begin together; 1 leaves; 3 and 4 join; 0 leaves; they end together
        using var batch = new RunningBatch(model);
        batch.Step(1);
        batch.Leave(1);
        batch.Step(2);
        batch.Join([3, 4]);
        Assert.Equal([9L, 12, 4, 7], batch.Lengths);
        batch.Step(1);
        batch.Step(1);
        batch.Leave(0);
        batch.Step(2);
        Assert.Equal([5, 1, 7, 4, 4], batch.Taken);
    }

    /// <summary>Represents rows of a cache. Each must get the same logits as alone.</summary>
    sealed class RunningBatch : IDisposable
    {
        static readonly long[] PromptLengths = [6, 3, 9, 4, 7];

        readonly HybridLanguageModel model;
        readonly Tensor prompts = Ids(5, 9), more = Ids(5, 7, seed: 2);
        readonly Tensor[] alone;
        readonly List<int> rows = [0, 1, 2];
        HybridCache cache;

        public RunningBatch(HybridLanguageModel model)
        {
            this.model = model;
            alone = [.. PromptLengths.Select((length, row) =>
                Alone(model, prompts.narrow(0, row, 1).narrow(1, 0, length), more.narrow(0, row, 1)))];
            cache = Prefilled(rows);
        }

        /// <summary>Gets the number of tokens that each row has read after its prompt.</summary>
        public int[] Taken { get; } = new int[PromptLengths.Length];

        public IReadOnlyList<long> Lengths => cache.Lengths;

        public void Step(int count)
        {
            var ids = cat([.. rows.Select(row => more.narrow(0, row, 1).narrow(1, Taken[row], count))], 0);
            var logits = Read(model, cache, ids);
            for (int i = 0; i < rows.Count; i++)
            {
                int row = rows[i];
                Same(alone[row].narrow(1, PromptLengths[row] + Taken[row], count), logits.narrow(0, i, 1), $"row {row} after {Taken[row]}");
                Taken[row] += count;
            }
        }

        public void Leave(int row)
        {
            Replace(cache.Drop(rows.IndexOf(row)));
            rows.Remove(row);
        }

        public void Join(List<int> joining)
        {
            using var other = Prefilled(joining);
            Replace(cache.Append(other));
            rows.AddRange(joining);
        }

        HybridCache Prefilled(List<int> selected)
        {
            long[] lengths = [.. selected.Select(row => PromptLengths[row])];
            var prefilled = model.CreateCache(selected.Count);
            Read(model, prefilled, prompts.narrow(0, selected[0], selected.Count).narrow(1, 0, lengths.Max()), lengths);
            return prefilled;
        }

        void Replace(HybridCache next)
        {
            cache.Dispose();
            cache = next;
        }

        public void Dispose() => cache.Dispose();
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Left_padded_prompts_continue_like_rows_alone(string name)
    {
        using var model = TinyDesigns.Model(name);
        var (ids, more) = (Ids(3, 8), Ids(3, 4, seed: 2));
        long[] pads = [0, 3, 7];
        var mask = ones([3, 8], ScalarType.Int64);
        mask[1, ..3] = 0;
        mask[2, ..7] = 0;
        using var cache = model.CreateCache(3);
        using (var context = SequenceContext.FromMask(mask, cache)) model.Forward(ids, context);
        Assert.Equal([8L, 5, 1], cache.Lengths);
        var logits = cat([Read(model, cache, more.narrow(1, 0, 3)), Read(model, cache, more.narrow(1, 3, 1))], 1);
        for (int row = 0; row < 3; row++)
            Same(Alone(model, ids.narrow(0, row, 1).narrow(1, pads[row], 8 - pads[row]), more.narrow(0, row, 1)).narrow(1, 8 - pads[row], 4),
                logits.narrow(0, row, 1), $"row {row}");
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Memory_is_what_the_cost_model_says_whatever_rows_did(string name)
    {
        var design = TinyDesigns.Get(name);
        if (design.Blocks.Any(block => block.Mixer is CustomMixerSpec))
            design = design with { Blocks = [.. design.Blocks.Where(block => block.Mixer is not CustomMixerSpec)] };
        using var model = design.CreateModel(seed: 1);
        using var cache = model.CreateCache(2);
        for (int i = 0; i < 9; i++) Read(model, cache, Ids(2, 1));
        cache.Trim();
        Assert.Equal(CacheSize.FromDesign(design, 9, 2, 4).Total, cache.Bytes);
        using var fork = cache.Fork(2);
        Assert.Equal(CacheSize.FromDesign(design, 9, 4, 4).Total, fork.Bytes);
        using var longer = model.CreateCache(1);
        Read(model, longer, Ids(1, 12));
        using var joined = fork.Append(longer);
        Assert.Equal(CacheSize.FromDesign(design, 12, 5, 4).Total, joined.Bytes);
        using var rest = joined.Drop(4, 1);
        rest.Trim();
        Assert.Equal(CacheSize.FromDesign(design, 9, 3, 4).Total, rest.Bytes);
    }

    [Fact]
    public void A_batch_may_run_empty_and_fill_again()
    {
        using var model = TinyDesigns.Model("inter");
        using var cache = model.CreateCache(2);
        Read(model, cache, Ids(2, 5));
        using var empty = cache.Drop(0, 1);
        Assert.Equal(0, empty.Batch);
        empty.Trim();
        using var again = empty.Append(cache);
        Assert.Equal([5L, 5], again.Lengths);
        empty.Save(folder["empty"]);
        using var restored = model.LoadCache(folder["empty"]);
        Assert.Equal(0, restored.Batch);
    }

    [Fact]
    public void A_cache_of_another_design_with_the_same_kinds_of_blocks_is_refused()
    {
        HybridDesign Design(int width, int heads) => HybridDesign.Create(width, 32).WithAttention(heads: heads)
            .WithMamba2(stateSize: 8, headSize: 8).WithFeedForward(FeedForwardSpec.SwiGlu(16)).Pattern("TM").Build();
        using var scope = NewDisposeScope();
        using var model = Design(16, 2).CreateModel(seed: 1);
        var ids = zeros([1, 4], ScalarType.Int64);
        foreach (var other in new[] { Design(32, 4), Design(16, 1) })
        {
            using var wrong = other.CreateModel(seed: 1);
            using var cache = wrong.CreateCache(1);
            using var context = new SequenceContext(cache: cache);
            Assert.Contains("context has a cache for the design", Assert.Throws<ArgumentException>(() => model.NextLogits(ids, context)).Message);
        }
        // that of a model with the same design is not
        using var same = Design(16, 2).CreateModel(seed: 2);
        using var own = same.CreateCache(1);
        using var shared = new SequenceContext(cache: own);
        Assert.Equal([1, 32], model.NextLogits(ids, shared).shape);
    }

    [Fact]
    public void Caches_of_other_models_and_wrong_rows_are_refused()
    {
        using var model = TinyDesigns.Model("inter");
        using var other = TinyDesigns.Model("mamba1");
        using var cache = model.CreateCache(2);
        using var foreign = other.CreateCache(2);
        Assert.Contains("made for 2 blocks", Assert.Throws<ArgumentException>("other", () => cache.Append(foreign)).Message);
        var start = HybridDesign.Create(8, 16).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(16));
        using var early = start.Pattern("TT-").Build().CreateModel(seed: 1);
        using var late = start.Pattern("T-T").Build().CreateModel(seed: 1);
        using var second = early.CreateCache(1);
        using var third = late.CreateCache(1);
        Assert.Contains("block 2 has a state in one cache only", Assert.Throws<ArgumentException>("other", () => second.Append(third)).Message);
        Assert.Throws<ArgumentOutOfRangeException>("rows", () => cache.Drop(2));
        Assert.Throws<ArgumentOutOfRangeException>("times", () => cache.Fork(0));
        Assert.Throws<ArgumentOutOfRangeException>("times", () => cache.Fork(int.MaxValue));
        Assert.Throws<ArgumentOutOfRangeException>("lengths", () => new HybridCache([], [-1L]));
    }

    [Fact]
    public void A_file_that_does_not_fit_the_model_is_refused_with_the_reason()
    {
        using var model = TinyDesigns.Model("inter");
        using var other = TinyDesigns.Model("mamba1");
        using var cache = model.CreateCache(2);
        Read(model, cache, Ids(2, 5));
        cache.Save(folder["cache"]);
        string Refused(Action<Dictionary<string, Tensor>, Dictionary<string, string>> change, LanguageModel? reader = null)
        {
            using var file = SafetensorsFile.Open(folder["cache"]);
            var tensors = file.Entries.ToDictionary(entry => entry.Name, entry => file.Read(entry.Name));
            var metadata = file.Metadata.ToDictionary();
            change(tensors, metadata);
            SafetensorsFile.Write(folder["changed"], tensors, metadata);
            return Assert.Throws<InvalidDataException>(() => (reader ?? model).LoadCache(folder["changed"])).Message;
        }
        Assert.Contains("hybrid_cache", Refused((_, metadata) => metadata.Clear()));
        Assert.Contains("another design", Refused((_, metadata) => metadata["design"] = "0"));
        Assert.Contains("no tensor 'blocks.2.0'", Refused((tensors, _) => tensors.Remove("blocks.2.0")));
        Assert.Contains("1 tensors for block 3; expected 2", Refused((tensors, _) => tensors.Remove("blocks.2.1")));
        Assert.Contains("unexpected tensor 'weights'", Refused((tensors, _) => tensors["weights"] = zeros(2)));
        Assert.Contains("no tensor 'lengths'", Refused((tensors, _) => tensors.Remove("lengths")));
        Assert.Contains("holds -1", Refused((tensors, _) => tensors["lengths"][1] = -1));
        Assert.Contains("block 3", Refused((tensors, _) => tensors["lengths"][1] = 6));
        Assert.Contains("not of 2 rows", Refused((tensors, _) => tensors["blocks.0.0"] = tensors["blocks.0.0"].narrow(0, 0, 1)));
        Assert.Contains("does not fit", Refused((tensors, _) => tensors["blocks.0.1"] = tensors["blocks.0.1"].to(ScalarType.Float16)));
        Assert.Contains("the model has no state there", Refused((_, _) => { }, other));
        Assert.Throws<FileNotFoundException>(() => model.LoadCache(folder["nothing"]));
        Assert.Single(Directory.GetFiles(folder.Path, "cache*"));
    }

    [Fact]
    public void Forks_snapshots_and_joins_leave_no_tensor_behind()
    {
        using var model = TinyDesigns.Model("shared transformers");
        LiveTensors.AssertNoneLeftBy(() =>
        {
            using (NewDisposeScope())
            using (var cache = model.CreateCache(1))
            {
                Read(model, cache, Ids(1, 4));
                using var snapshot = cache.Snapshot();
                using var fork = cache.Fork(2);
                using var joined = fork.Append(cache);
                Read(model, cache, Ids(1, 2));
                cache.Rewind(snapshot);
                cache.Trim();
                joined.Save(folder["cache"]);
                using var loaded = model.LoadCache(folder["cache"]);
            }
        }, repetitions: 3);
    }
}
