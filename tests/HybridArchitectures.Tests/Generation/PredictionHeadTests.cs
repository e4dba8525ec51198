using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tests.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

public sealed class PredictionHeadTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    static readonly int[][] prompts = [[3, 7, 11, 2, 5], [8], [4, 4, 9]];

    public void Dispose() => scope.Dispose();

    static string Folder(string name) => Path.Combine(ConformanceTests.Folder, name);

    [Theory]
    [InlineData("qwen3_5_full", 1)]
    [InlineData("qwen3_5_full", 3)]
    [InlineData("qwen3_5_moe_full", 2)]
    public void Drafts_of_a_published_head_change_no_token(string name, int drafts)
    {
        using var model = PretrainedModel.Load(Folder(name));
        using var head = PretrainedModel.LoadPredictionHead(Folder(name), model);
        var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 14, PrefillChunk = 2 };
        var expected = generator.Generate(prompts, options);
        var actual = generator.Generate(prompts, options with { DraftTokens = drafts, PredictionHead = head });
        Assert.Equal(expected.Select(one => one.Ids), actual.Select(one => one.Ids));
        Assert.True(head.DraftedTokens >= 13 * drafts, $"{head.DraftedTokens}");
    }

    [Fact]
    public void A_rejected_draft_after_which_no_token_can_be_selected_does_no_harm()
    {
        using var model = TinyDesigns.Model("inter");
        using var head = PredictionHead.Create(model, seed: 1);
        int[] Guess(int afterRejected)
        {
            using var noGrad = no_grad();
            using var drafts = new PredictedDrafts(model, head, count: 1, graphs: false);
            var hidden = model.Hidden(tensor(new long[] { 3, 7, 11, 2 }, [1, 4]));
            drafts.ReadPrompts(hidden.narrow(1, 0, 2), [[3, 7]], 0);
            drafts.Begin([11]);
            drafts.Guess(scores => scores);
            drafts.Accept(hidden.narrow(1, 2, 2), [5, afterRejected], [1]);
            return drafts.Guess(scores => scores)[0];
        }
        Assert.Equal(Guess(9), Guess(-1));
    }

    [Theory]
    [InlineData("qwen3_5_full", 1)]
    [InlineData("qwen3_5_full", 3)]
    [InlineData("qwen3_5_moe_full", 3)]
    [Trait("device", "cuda")]
    public void Drafts_of_a_published_head_change_no_token_on_a_GPU(string name, int drafts)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: a head did not draft on a GPU");
        using var model = PretrainedModel.Load(Folder(name), device: CUDA);
        using var head = PretrainedModel.LoadPredictionHead(Folder(name), model);
        var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 14 };
        // the first of two generations captures its steps and passes over drafts, and drafts of a head are captured from the second on
        foreach (bool graphs in new[] { true, false })
        {
            var plain = options with { CudaGraphs = graphs };
            Assert.Equal(generator.Generate(prompts, plain).Select(one => one.Ids),
                generator.Generate(prompts, plain with { DraftTokens = drafts, PredictionHead = head }).Select(one => one.Ids));
        }
        Assert.True(head.DraftedTokens >= 26 * drafts, $"{head.DraftedTokens}");
    }

    [Fact]
    public void A_head_is_not_used_where_tokens_are_sampled()
    {
        using var model = PretrainedModel.Load(Folder("qwen3_5_full"));
        using var head = PretrainedModel.LoadPredictionHead(Folder("qwen3_5_full"), model);
        var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 1, Seed = 3, MaxNewTokens = 6 };
        Assert.Equal(generator.Generate(prompts, options).Select(one => one.Ids),
            generator.Generate(prompts, options with { PredictionHead = head }).Select(one => one.Ids));
        Assert.Equal(0, head.DraftedTokens);
    }

    [Theory]
    [InlineData("*E", 1)]
    [InlineData("*E", 3)]
    [InlineData("M*-", 2)]
    public void Drafts_of_a_head_of_Nemotron_change_no_token(string pattern, int drafts)
    {
        using var model = PretrainedModel.Load(Folder("nemotron_h_moe"));
        using var folder = new TemporaryFolder();
        using (var made = Nemotron(model, pattern)) PretrainedModel.Save(model, folder["head"], "nemotron_h", new() { PredictionHead = made });
        using var head = PretrainedModel.LoadPredictionHead(folder["head"], model);
        var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 14, PrefillChunk = 2 };
        var expected = generator.Generate(prompts, options);
        var actual = generator.Generate(prompts, options with { DraftTokens = drafts, PredictionHead = head });
        Assert.Equal(expected.Select(one => one.Ids), actual.Select(one => one.Ids));
        Assert.True(head.DraftedTokens >= 13 * drafts, $"{head.DraftedTokens}");
    }

    // a head with blocks like those of the model, by the letters of the family, with values that differ from those of a new one
    static PredictionHead Nemotron(HybridLanguageModel model, string pattern)
    {
        var blocks = pattern.Select(letter => model.Design.Blocks.First(block => letter switch
        {
            'M' => block.Mixer is Mamba2Spec,
            '*' => block.Mixer is AttentionSpec,
            '-' => block.FeedForward is MlpSpec,
            _ => block.FeedForward is MixtureOfExpertsSpec,
        }));
        var head = PredictionHead.Create(model, [.. blocks], seed: 7);
        using var noGrad = no_grad();
        manual_seed(8);
        foreach (var value in head.State.Values) value.add_(randn_like(value).mul_(0.3));
        return head;
    }

    [Fact]
    public void A_head_of_Nemotron_is_written_with_the_published_names_and_read_again()
    {
        using var scope = NewDisposeScope();
        using var model = PretrainedModel.Load(Folder("nemotron_h_latent"));
        using var head = Nemotron(model, "*E");
        using var folder = new TemporaryFolder();
        PretrainedModel.Save(model, folder["head"], "nemotron_h", new() { PredictionHead = head, ShardBytes = 20_000 });
        string config = File.ReadAllText(Path.Combine(folder["head"], "config.json"));
        Assert.Contains("\"num_nextn_predict_layers\": 1", config);
        Assert.Contains("\"mtp_hybrid_override_pattern\": \"*E\"", config);
        int experts = ((MixtureOfExpertsSpec)head.Design.Blocks[1].FeedForward).Experts;
        string[] attention = ["enorm", "hnorm", "eh_proj", "norm", "mixer.q_proj", "mixer.k_proj", "mixer.v_proj", "mixer.o_proj"];
        string[] mixture =
        [
            "final_layernorm", "norm", "mixer.gate", "mixer.shared_experts.up_proj", "mixer.shared_experts.down_proj", "mixer.fc1_latent_proj",
            "mixer.fc2_latent_proj",
            .. Enumerable.Range(0, experts).SelectMany(i => (string[])[$"mixer.experts.{i}.up_proj", $"mixer.experts.{i}.down_proj"]),
        ];
        var expected = attention.Select(name => $"mtp.layers.0.{name}.weight").Concat(mixture.Select(name => $"mtp.layers.1.{name}.weight"))
            .Append("mtp.layers.1.mixer.gate.e_score_correction_bias");
        Assert.Equal(expected.Order(StringComparer.Ordinal), Names(folder["head"]).Where(name => name.StartsWith("mtp.")));
        using var again = PretrainedModel.LoadPredictionHead(folder["head"], model);
        Assert.Equal(head.Design.Blocks, again.Design.Blocks);
        AssertSame(head, again);
        var notes = new List<string>();
        using (PretrainedModel.Load(folder["head"], options: new() { Notes = new Collected(notes) }))
            Assert.Contains($"{9 + mixture.Length} tensors of multi-token prediction (mtp.*) are not loaded", Assert.Single(notes));
    }

    static string[] Names(string folder) =>
        [.. Directory.GetFiles(folder, "*.safetensors").SelectMany(path =>
        {
            using var file = SafetensorsFile.Open(path);
            return file.Entries.Select(entry => entry.Name).ToArray();
        }).Order(StringComparer.Ordinal)];

    static void AssertSame(PredictionHead expected, PredictionHead actual)
    {
        Assert.Equal(expected.State.Keys.Order(), actual.State.Keys.Order());
        foreach (var (name, value) in expected.State) Assert.True(value.eq(actual.State[name]).all().item<bool>(), name);
    }

    sealed class Collected(List<string> notes) : IProgress<string>
    {
        public void Report(string value) => notes.Add(value);
    }

    // a token alone attends to itself, so that attention is its value
    [Fact]
    public void A_head_of_Nemotron_computes_its_formula()
    {
        using var noGrad = no_grad();
        using var model = PretrainedModel.Load(Folder("nemotron_h_moe"));
        using var folder = new TemporaryFolder();
        using (var made = Nemotron(model, "*-")) PretrainedModel.Save(model, folder["head"], "nemotron_h", new() { PredictionHead = made });
        using var head = PretrainedModel.LoadPredictionHead(folder["head"], model);
        using var file = SafetensorsFile.Open(Path.Combine(folder["head"], "model.safetensors"));
        Tensor Read(string key) => file.Read($"mtp.layers.{key}.weight");
        Tensor Norm(Tensor x, string key) => x * (x.pow(2).mean([-1], true) + model.Design.NormEpsilon).rsqrt() * Read(key);
        Tensor Apply(string key, Tensor x) => nn.functional.linear(x, Read(key));
        var attention = (AttentionSpec)head.Design.Blocks[0].Mixer!;
        var hidden = randn(1, 1, model.Design.Width);
        var embedded = file.Read("backbone.embeddings.weight")[9].view(1, 1, -1);
        var x = Apply("0.eh_proj", cat([Norm(embedded, "0.enorm"), Norm(hidden, "0.hnorm")], -1));
        var value = Apply("0.mixer.v_proj", Norm(x, "0.norm")).view(attention.KeyValueHeads, attention.HeadSize)
            .repeat_interleave(attention.Heads / attention.KeyValueHeads, 0);
        x += Apply("0.mixer.o_proj", value.view(1, 1, -1));
        x += Apply("1.mixer.down_proj", nn.functional.relu(Apply("1.mixer.up_proj", Norm(x, "1.norm"))).pow(2));
        var expected = Norm(x, "1.final_layernorm");
        Assert.True((expected - head.Forward(model, hidden, tensor(new long[] { 9 }).view(1, 1))).abs().max().item<float>() < 1e-5);
    }

    [Theory]
    [InlineData("qwen3_5_full", "qwen3_5")]
    [InlineData("qwen3_5_moe_full", "qwen3_5_moe")]
    [InlineData("qwen3_5_full", "qwen3_5_text")]
    public void A_published_head_is_written_again_bit_for_bit(string name, string family)
    {
        using var model = PretrainedModel.Load(Folder(name));
        using var head = PretrainedModel.LoadPredictionHead(Folder(name), model);
        using var folder = new TemporaryFolder();
        PretrainedModel.Save(model, folder["written"], family, new()
        {
            PredictionHead = head, SettingsFrom = PretrainedConfig.Read(Path.Combine(Folder(name), "config.json")),
        });
        Assert.Contains("\"mtp_num_hidden_layers\": 1", File.ReadAllText(Path.Combine(folder["written"], "config.json")));
        using SafetensorsFile original = SafetensorsFile.Open(Path.Combine(Folder(name), "model.safetensors")),
            written = SafetensorsFile.Open(Path.Combine(folder["written"], "model.safetensors"));
        string[] heads = [.. written.Entries.Select(entry => entry.Name).Where(key => key.StartsWith("mtp."))];
        Assert.True(heads.Length >= 15, $"{heads.Length}");
        foreach (string key in heads.Where(original.Contains)) Assert.True(original.Read(key).eq(written.Read(key)).all().item<bool>(), key);
        using var again = PretrainedModel.LoadPredictionHead(folder["written"], model);
        AssertSame(head, again);
    }

    [Fact]
    public void A_head_is_saved_next_to_its_model_until_the_model_is_saved_without_it()
    {
        using var model = PretrainedModel.Load(Folder("nemotron_h_moe"));
        using var head = Nemotron(model, "*E");
        using var folder = new TemporaryFolder();
        Checkpoint.Save(model, folder["own"], predictionHead: head);
        Assert.True(Checkpoint.HasPredictionHead(folder["own"]));
        using (var loaded = Checkpoint.Load(folder["own"]))
        using (var again = Checkpoint.LoadPredictionHead(folder["own"], loaded)) AssertSame(head, again);
        var design = HybridDesign.Create(16, 40).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(20)).Depth(1).Build();
        using (var other = design.CreateModel())
            Assert.Contains("model has width", Assert.Throws<ArgumentException>(() => Checkpoint.LoadPredictionHead(folder["own"], other)).Message);
        Checkpoint.Save(model, folder["own"]);
        Assert.False(Checkpoint.HasPredictionHead(folder["own"]));
        Assert.Contains("prediction_head.json", Assert.Throws<FileNotFoundException>(() =>
            Checkpoint.LoadPredictionHead(folder["own"], model)).Message);
    }

    /// <summary>The block of the model was copied with references to parts of the model that a head does not have.</summary>
    [Theory]
    [InlineData("shared transformers", 'T'), InlineData("shared transformer and shift", 'W')]
    public void A_head_without_given_blocks_stands_alone(string name, char mixer)
    {
        using var model = TinyDesigns.Model(name);
        using var head = PredictionHead.Create(model, seed: 5);
        Assert.Equal($"{mixer}", head.Design.Pattern);
        var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 14 };
        Assert.Equal(generator.Generate(prompts, options).Select(one => one.Ids),
            generator.Generate(prompts, options with { DraftTokens = 2, PredictionHead = head }).Select(one => one.Ids));
        Assert.True(head.DraftedTokens > 0);
    }

    [Fact]
    public void Heads_that_a_family_cannot_express_are_refused_by_name()
    {
        using var model = PretrainedModel.Load(Folder("qwen3_5_full"));
        using HybridLanguageModel llama = PretrainedModel.Load(Folder("llama")), nemotron = PretrainedModel.Load(Folder("nemotron_h_moe"));
        using var folder = new TemporaryFolder();
        string Refused(HybridLanguageModel one, string family, params BlockSpec[] blocks)
        {
            using var head = PredictionHead.Create(one, blocks.Length == 0 ? null : blocks);
            return Assert.Throws<ArgumentException>(() => PretrainedModel.Save(one, folder["none"], family, new() { PredictionHead = head })).Message;
        }
        Assert.Contains("modelType is \"llama\"; expected a family whose heads can be written", Refused(llama, "llama"));
        Assert.Contains("options.PredictionHead cannot be expressed as qwen3_5", Refused(model, "qwen3_5", model.Design.Blocks[0]));
        Assert.Contains("options.PredictionHead cannot be expressed as qwen3_5",
            Refused(model, "qwen3_5", model.Design.Blocks[^1], model.Design.Blocks[^1]));
        Assert.False(Directory.Exists(folder["none"]));
        using (var head = Nemotron(nemotron, "*E")) PretrainedModel.Save(nemotron, folder["two"], "nemotron_h", new() { PredictionHead = head });
        string config = Path.Combine(folder["two"], "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"num_nextn_predict_layers\": 1", "\"num_nextn_predict_layers\": 2"));
        Assert.Contains("num_nextn_predict_layers is 2; expected 1", Assert.Throws<InvalidDataException>(() =>
            PretrainedModel.LoadPredictionHead(folder["two"], nemotron)).Message);
    }

    [Theory]
    [InlineData(1_000_000)]
    [InlineData(20_000)]
    public void A_folder_without_a_head_is_refused_by_name(long shardBytes)
    {
        using var model = PretrainedModel.Load(Folder("nemotron_h_moe"));
        using var folder = new TemporaryFolder();
        PretrainedModel.Save(model, folder["without"], "nemotron_h", new() { ShardBytes = shardBytes });
        Assert.False(PretrainedModel.HasPredictionHead(folder["without"]));
        Assert.Contains("no tensors of multi-token prediction (mtp.*)", Assert.Throws<InvalidDataException>(() =>
            PretrainedModel.LoadPredictionHead(folder["without"], model)).Message);
    }

    // a token alone attends to itself, so that attention is its value times its gate
    [Fact]
    public void A_published_head_computes_its_formula()
    {
        using var noGrad = no_grad();
        using var model = PretrainedModel.Load(Folder("qwen3_5_full"));
        using var head = PretrainedModel.LoadPredictionHead(Folder("qwen3_5_full"), model);
        using var file = SafetensorsFile.Open(Path.Combine(Folder("qwen3_5_full"), "model.safetensors"));
        Tensor Read(string key) => file.Read($"mtp.{key}.weight");
        Tensor Norm(Tensor x, string key) => x * (x.pow(2).mean([-1], true) + model.Design.NormEpsilon).rsqrt() * (Read(key) + 1);
        Tensor Apply(string key, Tensor x) => nn.functional.linear(x, Read("layers.0." + key));
        var attention = (AttentionSpec)head.Design.Blocks[0].Mixer!;
        var hidden = randn(1, 1, model.Design.Width);
        var ids = tensor(new long[] { 9 }).view(1, 1);
        var embedded = file.Read("model.language_model.embed_tokens.weight")[9].view(1, 1, -1);
        var x = nn.functional.linear(cat([Norm(embedded, "pre_fc_norm_embedding"), Norm(hidden, "pre_fc_norm_hidden")], -1), Read("fc"));
        var normed = Norm(x, "layers.0.input_layernorm");
        var gate = Apply("self_attn.q_proj", normed).view(attention.Heads, 2, attention.HeadSize).select(1, 1);
        var value = Apply("self_attn.v_proj", normed).view(attention.KeyValueHeads, attention.HeadSize)
            .repeat_interleave(attention.Heads / attention.KeyValueHeads, 0);
        x += Apply("self_attn.o_proj", (value * gate.sigmoid()).view(1, 1, -1));
        normed = Norm(x, "layers.0.post_attention_layernorm");
        x += Apply("mlp.down_proj", nn.functional.silu(Apply("mlp.gate_proj", normed)) * Apply("mlp.up_proj", normed));
        Assert.True((Norm(x, "norm") - head.Forward(model, hidden, ids)).abs().max().item<float>() < 1e-5);
    }

    [Fact]
    public void Passes_over_pieces_of_a_row_are_one_pass()
    {
        using var noGrad = no_grad();
        using var model = PretrainedModel.Load(Folder("qwen3_5_full"));
        using var head = PretrainedModel.LoadPredictionHead(Folder("qwen3_5_full"), model);
        var hidden = randn(2, 7, model.Design.Width);
        var ids = randint(1, model.VocabularySize, [2, 7], ScalarType.Int64);
        using var cache = head.CreateCache(2);
        var pieces = hidden.split(3, 1).Zip(ids.split(3, 1), Piece).ToArray();
        Assert.True((cat(pieces, 1) - head.Forward(model, hidden, ids)).abs().max().item<float>() < 1e-5);

        Tensor Piece(Tensor part, Tensor next)
        {
            using var context = new SequenceContext(cache: cache);
            return head.Forward(model, part, next, context);
        }
    }

    // blocks that add nothing: the next token follows from the last one, and the head computes it as the model does
    [Fact]
    public void A_head_that_knows_the_model_has_all_its_drafts_accepted()
    {
        var design = HybridDesign.Create(16, 40).WithAttention(heads: 2).WithMamba2(stateSize: 4, headSize: 8)
            .WithFeedForward(FeedForwardSpec.SwiGlu(20)).Pattern("MT").TiedHead(false).Build();
        using var model = design.CreateModel(seed: 3);
        using var factory = new ModuleFactory(design with { Blocks = [design.Blocks[1]] }, CPU, seed: 4);
        using var head = new PredictionHead(factory);
        using (no_grad())
        {
            foreach (var (name, value) in model.State.Concat(head.State))
                if (name.EndsWith("output.weight") || name.EndsWith("down.weight")) value.zero_();
            head.State["input.weight"].copy_(cat([eye(16), zeros(16, 16)], 1));
        }
        var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 13 };
        var expected = generator.Generate(prompts, options);
        var actual = generator.Generate(prompts, options with { DraftTokens = 3, PredictionHead = head });
        Assert.Equal(expected.Select(one => one.Ids), actual.Select(one => one.Ids));
        // one token from the prompt, then three passes of four tokens
        Assert.Equal((27, 27), (head.DraftedTokens, head.AcceptedTokens));
    }

    [Fact]
    public void Anything_but_a_head_of_the_model_is_refused_by_name()
    {
        using var model = PretrainedModel.Load(Folder("qwen3_5_full"));
        using var other = PretrainedModel.Load(Folder("llama"));
        string Refused<T>(string folder, HybridLanguageModel one) where T : Exception =>
            Assert.Throws<T>(() => PretrainedModel.LoadPredictionHead(Folder(folder), one)).Message;
        Assert.Contains("model_type is llama; expected a Qwen3.5 family or nemotron_h", Refused<NotSupportedException>("llama", other));
        Assert.Contains("no tensors of multi-token prediction (mtp.*)", Refused<InvalidDataException>("qwen3_5", model));
        Assert.Contains("model has width", Refused<ArgumentException>("qwen3_5_full", other));
        using var head = PretrainedModel.LoadPredictionHead(Folder("qwen3_5_full"), model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 2, PredictionHead = head };
        Assert.Contains("as the head of multi-token prediction", Assert.Throws<ArgumentException>(
            () => new TextGenerator(other).Generate(prompts, options)).Message);
    }
}
