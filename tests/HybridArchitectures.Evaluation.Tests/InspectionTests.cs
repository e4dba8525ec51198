using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Inside;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class InspectionTests
{
    const int Vocabulary = 8;

    static HybridLanguageModel Create(params BlockSpec[] blocks) => new HybridDesign
    {
        Width = Vocabulary, VocabularySize = Vocabulary, TiedHead = false, NormEpsilon = 1e-12,
        Blocks = [.. blocks.Select(block => block with { NormEpsilon = 1e-12 })],
    }.Resolve().CreateModel(seed: 1);

    static void Set(HybridLanguageModel model, string name, Tensor value)
    {
        using var noGrad = no_grad();
        using (value) model.State[name].copy_(value);
    }

    static int[] Zeros(int count) => new int[count];

    // the embedding is the identity, so that the normed input of token i has sqrt(8) in channel i; queries have the channel of token 1, keys that of
    // token 2: token 1 scores 8 w^2 on keys of token 2, and 0 elsewhere
    static HybridLanguageModel Finder(double weight, int? window = null)
    {
        var model = Create(new BlockSpec { Mixer = new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 2, Rotary = null,
            Window = window } });
        Set(model, "embedding", eye(Vocabulary));
        var query = zeros(4, Vocabulary);
        query[0, 1] = (float)weight;            // head 0; head 1 stays blind
        var key = zeros(2, Vocabulary);
        key[0, 2] = (float)weight;
        Set(model, "stack.blocks.0.mixer.query.weight", query);
        Set(model, "stack.blocks.0.mixer.key.weight", key);
        return model;
    }

    [Theory]
    [InlineData(2048)]
    [InlineData(3)]
    public void Attention_mass_is_the_softmax_over_the_needle(int chunk)
    {
        using var model = Finder(0.5);
        // the needle is token 2 at position 2; the query is the last token
        var prompt = new InspectionPrompt([0, 3, 2, 0, 4, 0, 1], NeedleStart: 2, NeedleLength: 1);
        var result = ModelInspection.Measure(model, [prompt], new() { ChunkLength = chunk });
        // score: (sqrt(8) / 2)^2 / sqrt(2) = sqrt(2)
        double share = Math.Exp(Math.Sqrt(2)) / (Math.Exp(Math.Sqrt(2)) + 6);
        Assert.Equal([(1, 0), (1, 1)], result.Heads.Select(head => (head.Block, head.Head)));
        Assert.Equal(share, result.Heads[0].Mass.Value, 1e-6);
        Assert.Equal(1, result.Heads[0].TopShare);
        Assert.Equal(1 / 7.0, result.Heads[1].Mass.Value, 1e-6);
        Assert.Equal(1 / 7.0, result.UniformMass!.Value, 1e-12);
        Assert.Equal(["block 1, head 0"], result.RetrievalHeads(0.3).Select(head => head.Name));
        Assert.Empty(result.Memory);
    }

    [Fact]
    public void A_window_hides_the_needle()
    {
        using var model = Finder(0.5, window: 3);
        var seen = ModelInspection.Measure(model, [new([0, 3, 0, 0, 2, 0, 1], 4, 1)], new() { ChunkLength = 2 });
        Assert.Equal(Math.Exp(Math.Sqrt(2)) / (Math.Exp(Math.Sqrt(2)) + 2), seen.Heads[0].Mass.Value, 1e-6);
        var hidden = ModelInspection.Measure(model, [new([0, 3, 0, 2, 0, 0, 1], 3, 1)]);
        Assert.Equal(0, hidden.Heads[0].Mass.Value);
    }

    [Fact]
    public void Several_queries_and_texts_are_averaged()
    {
        using var model = Finder(0.5);
        InspectionPrompt near = new([2, 1, 1], 0, 1, Queries: 2), far = new([2, 0, 0, 1], 0, 1);
        double e = Math.Exp(Math.Sqrt(2)), first = (e / (e + 1) + e / (e + 2)) / 2, second = e / (e + 3);
        var mass = ModelInspection.Measure(model, [near, far]).Heads[0].Mass;
        Assert.Equal((first + second) / 2, mass.Value, 1e-6);
        Assert.Equal(Math.Abs(first - second) / 2, mass.StandardError!.Value, 1e-6);
    }

    // every projection is 0, so that the time step is softplus of its bias at every token
    static HybridLanguageModel Decaying(MixerSpec mixer, double step, params double[] rates)
    {
        var model = Create(new BlockSpec { Mixer = mixer });
        using var noGrad = no_grad();
        foreach (var (name, value) in model.State)
            if (name.StartsWith("stack.blocks", StringComparison.Ordinal)) value.zero_();
        model.State["stack.blocks.0.mixer.dt_bias"].fill_(Math.Log(Math.Exp(step) - 1));
        var decay = model.State["stack.blocks.0.mixer.A_log"];
        using var logarithms = tensor(rates.Select(rate => (float)Math.Log(rate)).ToArray());
        decay.copy_(logarithms.expand(decay.shape));
        return model;
    }

    [Theory]
    [InlineData(2048)]
    [InlineData(7)]
    public void Memory_of_Mamba2_is_where_the_product_of_decays_meets_the_threshold(int chunk)
    {
        // with steps of 0.5, heads decay by exp(-0.02), exp(-0.25) per token: to 1/e after 50 and 4 tokens, here to exp(-0.9): 45 and 3.6
        using var model = Decaying(new Mamba2Spec { Heads = 2, HeadSize = 2, StateSize = 2 }, 0.5, 0.04, 0.5);
        var options = new InspectionOptions { MemoryThreshold = Math.Exp(-0.91), MemoryPositions = 10, ChunkLength = chunk };
        var memory = Assert.Single(ModelInspection.Measure(model, [new(Zeros(200))], options).Memory);
        Assert.Equal(1, memory.Block);
        Assert.Equal([45.0, 3.0], memory.Tokens);
        Assert.Equal(0, memory.WholeTextShare);
        Assert.Equal((3.0, 24.0, 45.0), (memory.Quantile(0), memory.Quantile(0.5), memory.Quantile(1)));
        // of positions 20 to 39, the ten are 21, 23, ..., 39: all before 45
        var early = Assert.Single(ModelInspection.Measure(model, [new(Zeros(40))], options).Memory);
        Assert.Equal([30.0, 3.0], early.Tokens);
        Assert.Equal(0.5, early.WholeTextShare);
    }

    [Fact]
    public void Memory_of_Mamba1_is_that_of_its_slowest_state_and_of_a_gated_delta_layer_that_of_its_gate()
    {
        using var mamba = Decaying(new Mamba1Spec { InnerWidth = 4, StateSize = 2, TimeStepRank = 1 }, 0.5, 0.5, 0.04);
        var options = new InspectionOptions { MemoryThreshold = Math.Exp(-0.91), MemoryPositions = 10, MaxHeads = 3 };
        Assert.Equal([45.0, 45.0, 45.0], ModelInspection.Measure(mamba, [new(Zeros(200))], options).Memory[0].Tokens);
        using var delta = Decaying(new GatedDeltaSpec { KeyHeads = 1, ValueHeads = 2, KeyHeadSize = 2, ValueHeadSize = 2 }, 0.5, 0.04, 0.5);
        Assert.Equal([45.0, 3.0], ModelInspection.Measure(delta, [new(Zeros(200))], options).Memory[0].Tokens);
    }

    [Fact]
    public void Branches_are_measured_before_their_norms_and_as_terms_of_the_fusion()
    {
        var spec = new IntraHybridSpec
        {
            Attention = new AttentionSpec { Heads = 2, HeadSize = 2, ValueHeadSize = 4, Rotary = null },
            StateSpace = new Mamba2Spec { Heads = 2, HeadSize = 4, StateSize = 2 }, Norm = BranchNorm.None, Fusion = FusionKind.Add,
        };
        using var model = Create(new BlockSpec { Mixer = spec });
        using (no_grad())
            foreach (var (name, value) in model.State)
                if (name.Contains("state_space", StringComparison.Ordinal)) value.zero_();
        Set(model, "embedding", eye(Vocabulary));
        // values are the normed input, with a root mean square of 1; the output projection doubles them
        Set(model, "stack.blocks.0.mixer.attention.value.weight", eye(Vocabulary));
        Set(model, "stack.blocks.0.mixer.attention.output.weight", eye(Vocabulary) * 2);
        var norms = Assert.Single(ModelInspection.Measure(model, [new([3, 3, 3])]).Branches);
        Assert.Equal((1, 0.0, 0.0), (norms.Block, norms.StateSpace, norms.FusedStateSpace));
        Assert.Equal(1, norms.Attention, 1e-6);
        Assert.Equal(2, norms.FusedAttention, 1e-6);
        Assert.Equal(1, norms.AttentionShare);
    }

    [Fact]
    public void The_load_of_experts_is_their_share_of_the_choices()
    {
        var model = Create(new BlockSpec { FeedForward = new MixtureOfExpertsSpec { Experts = 4, ExpertsPerToken = 1, ExpertWidth = 4 } });
        using var owned = model;
        Set(model, "embedding", eye(Vocabulary));
        var router = zeros(4, Vocabulary);
        for (int token = 0; token < Vocabulary; token++) router[token % 4, token] = 1;
        Set(model, "stack.blocks.0.feed_forward.router.weight", router);
        var load = Assert.Single(ModelInspection.Measure(model, [new([0, 4, 1, 0]), new([2, 2, 2, 2])], new() { ChunkLength = 2 }).Routers);
        Assert.Equal([3 / 8.0, 1 / 8.0, 4 / 8.0, 0], load.Shares);
        Assert.Equal(2, load.MaxOverMean);
    }

    [Fact]
    public void A_real_model_gives_the_same_numbers_in_chunks()
    {
        using var model = HybridDesign.Create(16, 256).WithAttention(heads: 4, keyValueHeads: 2).WithMamba2(stateSize: 4, headSize: 8)
            .WithFeedForward(FeedForwardSpec.SwiGlu(16)).Pattern("MTM").Build().CreateModel(seed: 3);
        var prompts = new InsideTask(new Passkey(), new ByteTokenizer(), new() { Length = 400, Depths = [0.5], Trials = 2 }).CreatePrompts();
        InspectionResult whole = ModelInspection.Measure(model, prompts), parts = ModelInspection.Measure(model, prompts, new() { ChunkLength = 64 });
        Assert.Equal(4, whole.Heads.Count);
        Assert.Equal([1, 3], whole.Memory.Select(layer => layer.Block));
        foreach (var (a, b) in whole.Heads.Zip(parts.Heads)) Assert.Equal(a.Mass.Value, b.Mass.Value, 1e-6);
        foreach (var (a, b) in whole.Memory.Zip(parts.Memory)) Assert.Equal(a.Quantile(0.5), b.Quantile(0.5), 0.2);
    }

    [Fact]
    public void Heads_of_a_shared_transformer_are_distinguished_from_those_of_the_mixer()
    {
        using var model = HybridDesign.Create(16, 256).WithMamba2(stateSize: 4, headSize: 8).WithAttention(heads: 1)
            .WithSharedTransformers(new() { Attention = new() { Heads = 2 }, FeedForward = new(32) }).Pattern("M+T+").Build().CreateModel(seed: 3);
        var heads = ModelInspection.Measure(model, [new([5, 6, 7, 8, 9], 1, 2)], new() { ChunkLength = 3 }).Heads;
        Assert.Equal([(1, true, 0), (1, true, 1), (2, true, 0), (2, true, 1), (2, false, 0)],
            heads.Select(head => (head.Block, head.IsShared, head.Head)));
        Assert.Equal("block 2 (shared), head 1", heads[3].Name);
    }

    [Fact]
    public void Prompts_hold_the_answer_as_needle_and_ask_for_it()
    {
        var tokenizer = new ByteTokenizer();
        foreach (var task in (LongContextTask[])[new Passkey(), new Needle("One. Two. Three."), RulerTask.All[0]])
            foreach (var prompt in new InsideTask(task, tokenizer, new() { Length = 700, Depths = [0.2, 0.8], Trials = 2 }).CreatePrompts())
            {
                string text = tokenizer.Decode(prompt.Ids), needle = tokenizer.Decode(prompt.Ids.Skip(prompt.NeedleStart).Take(prompt.NeedleLength));
                Assert.Matches("^[0-9]+$", needle);
                // the last queries predict the answer: they read the blank and all but its last character
                Assert.EndsWith($" {needle[..^1]}", text);
                Assert.Equal(needle.Length, prompt.Queries);
                Assert.True(prompt.NeedleStart + prompt.NeedleLength < prompt.Ids.Count - prompt.Queries);
            }
        Assert.Contains("ruler fwe", Assert.Throws<ArgumentException>(() =>
            new InsideTask(RulerTask.All[4], tokenizer, new() { Length = 2000 }).CreatePrompts()).Message);
    }

    [Fact]
    public void Checkpoints_show_the_course_of_training()
    {
        using var folder = new TemporaryFolder();
        using var data = TokenDataset.FromTokens(Enumerable.Range(0, 4000).Select(i => i * i % 251).ToArray(), 256);
        using var model = HybridDesign.Create(8, 256).WithAttention(heads: 2).WithMamba2(stateSize: 4, headSize: 4).Pattern("MT").Build()
            .CreateModel(seed: 3);
        using var trainer = new Trainer(model, data, new TrainingOptions
        {
            LearningRate = 1e-2, ContextLength = 16, BatchSize = 2, Duration = Duration.Steps(6), CheckpointEvery = 2, KeepEvery = 2,
            Folder = folder["run"],
        });
        trainer.Run();
        var task = new InsideTask(new Passkey(), new ByteTokenizer(), new() { Length = 300, Trials = 1 });
        var history = task.MeasureRun(folder["run"]);
        Assert.Equal([2, 4, 6], history.Points.Select(point => point.Step));
        Assert.Equal(task.Measure(model).Heads.Select(head => head.Mass), history.Points[^1].Result.Heads.Select(head => head.Mass));
        var result = history.ToTaskResult();
        Assert.Equal(["2", "4", "6"], result.HeatMaps[0].Columns);
        Assert.Equal(["2.0", "2.1"], result.HeatMaps[0].Rows);
        Assert.Contains(result.Curves, curve => curve.Title == "Longest effective memory over training" && curve.Points.Count == 3);
        Assert.Contains("expected the folder of a training run",
            Assert.Throws<DirectoryNotFoundException>(() => task.MeasureRun(folder["x"])).Message);
    }

    [Fact]
    public void A_sweep_takes_the_task_and_pictures_are_only_of_parts_that_exist()
    {
        using var model = HybridDesign.Create(8, 256).WithMamba2(stateSize: 4, headSize: 4).Depth(2).Build().CreateModel(seed: 3);
        var result = new InsideTask(new Passkey(), new ByteTokenizer(), new() { Length = 300, Trials = 1 }).Run(model);
        Assert.Equal(["longest effective memory", "median effective memory"], result.Metrics.Select(metric => metric.Name));
        Assert.Equal(["Effective memory of states (tokens)"], result.HeatMaps.Select(map => map.Title));
        Assert.Contains("Prompts of passkey with up to 300 tokens", result.Protocol);
    }

    [Fact]
    public void Settings_and_texts_that_cannot_be_measured_are_refused()
    {
        using var model = Finder(1);
        Assert.Contains("Ids is 9; expected ids from 0 to 7", Assert.Throws<ArgumentOutOfRangeException>(() =>
            ModelInspection.Measure(model, [new([0, 9])])).Message);
        Assert.Contains("NeedleStart is 3", Assert.Throws<ArgumentOutOfRangeException>(() =>
            ModelInspection.Measure(model, [new([0, 1, 2, 3], 3, 2)])).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => ModelInspection.Measure(model, []));
        Assert.Throws<ArgumentOutOfRangeException>(() => ModelInspection.Measure(model, [new([0, 1])], new() { MemoryThreshold = 1 }));
        Assert.Contains("expected at least one of them", Assert.Throws<ArgumentException>(() =>
            ModelInspection.Measure(model, [new([0, 1])])).Message);
    }
}
