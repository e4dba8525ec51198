using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
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
    public void What_is_no_head_of_the_model_is_refused_by_name()
    {
        using var model = PretrainedModel.Load(Folder("qwen3_5_full"));
        using var other = PretrainedModel.Load(Folder("llama"));
        string Refused<T>(string folder, HybridLanguageModel one) where T : Exception =>
            Assert.Throws<T>(() => PretrainedModel.LoadPredictionHead(Folder(folder), one)).Message;
        Assert.Contains("model_type is llama; expected a Qwen3.5 family", Refused<NotSupportedException>("llama", other));
        Assert.Contains("no tensors of multi-token prediction (mtp.*)", Refused<InvalidDataException>("qwen3_5", model));
        Assert.Contains("model has width", Refused<ArgumentException>("qwen3_5_full", other));
        using var head = PretrainedModel.LoadPredictionHead(Folder("qwen3_5_full"), model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 2, PredictionHead = head };
        Assert.Contains("as the head of multi-token prediction", Assert.Throws<ArgumentException>(
            () => new TextGenerator(other).Generate(prompts, options)).Message);
    }
}
