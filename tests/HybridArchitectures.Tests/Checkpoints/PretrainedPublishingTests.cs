using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Tests how models are written as checkpoints of a family.</summary>
public sealed class PretrainedPublishingTests : PretrainedFolderTests
{
    [Theory]
    [InlineData(ScalarType.Float32, 0)]
    [InlineData(ScalarType.BFloat16, 0.05)]
    public void A_design_trained_here_is_published_and_read_back(ScalarType type, double tolerance)
    {
        var design = HybridDesign.Create(width: 32, vocabularySize: 50)
            .WithAttention(heads: 4, keyValueHeads: 2, rotary: new RotarySpec { Theta = 20_000 })
            .WithMamba2(stateSize: 8, headSize: 16).WithFeedForward(FeedForwardSpec.SwiGlu(48)).Depth(4).Ratio(1, 3).TiedHead(false).Build();
        using var model = design.CreateModel(seed: 3);
        PretrainedModel.Save(model, folders["out"], "bamba", new() { Type = type, ShardBytes = 20_000 });
        Assert.True(File.Exists(Path.Combine(folders["out"], "model.safetensors.index.json")));
        PretrainedModel.Save(model, folders["out"], "bamba", new() { Type = type });                // replaces an earlier save, shards and all
        Assert.Equal(["config.json", "model.safetensors"], Directory.GetFiles(folders["out"]).Select(path => Path.GetFileName(path)).Order());
        using var again = PretrainedModel.Load(folders["out"]);
        Assert.True((Logits(model) - Logits(again)).abs().max().item<float>() <= tolerance);
    }

    [Fact]
    public void A_design_that_a_family_cannot_express_is_refused_with_what_differs()
    {
        using var model = TinyDesigns.Model("sliding window");
        string message = Assert.Throws<ArgumentException>(() => PretrainedModel.Save(model, folders["out"], "llama")).Message;
        Assert.Contains("design cannot be expressed as llama", message);
        Assert.Contains("window", message);
        using var mixed = TinyDesigns.Model("inter");
        Assert.Contains("cannot be expressed as llama",
            Assert.Throws<ArgumentException>(() => PretrainedModel.Save(mixed, folders["out"], "llama")).Message);
        Assert.Contains("expected one of bamba", Assert.Throws<ArgumentException>(() => PretrainedModel.Save(mixed, folders["out"], "gpt9")).Message);
        Assert.False(Directory.Exists(folders["out"]));
    }

    [Fact]
    public void What_transformers_would_not_read_is_refused_or_completed()
    {
        HybridDesignBuilder start = HybridDesign.Create(width: 16, vocabularySize: 32).WithFeedForward(FeedForwardSpec.SwiGlu(24));
        string Refusal(HybridDesignBuilder builder, string family)
        {
            using var model = builder.Build().CreateModel(seed: 1);
            return Assert.Throws<ArgumentException>(() => PretrainedModel.Save(model, folders[family], family)).Message;
        }
        Assert.Contains("at least one GatedDeltaSpec", Refusal(start.WithAttention(heads: 2).Depth(2).TiedHead(false), "olmo_hybrid"));
        var delta = start.WithMixer(new GatedDeltaSpec { KeyHeads = 2, KeyHeadSize = 4 });
        Assert.Contains("at least one AttentionSpec", Refusal(delta.Depth(2).TiedHead(false), "olmo_hybrid"));
        var kimi = new LatentAttentionSpec { Heads = 2, HeadSize = 8, KeyValueRank = 8 };
        string full = Copy("olmo3"), file = Path.Combine(full, "config.json");
        File.WriteAllText(file, File.ReadAllText(file).Replace("sliding_attention\",", "full_attention\","));
        using (var model = PretrainedModel.Load(full)) PretrainedModel.Save(model, folders["full"], "olmo3");
        Assert.Equal(4096, (int)JsonNode.Parse(File.ReadAllText(Path.Combine(folders["full"], "config.json")))!["sliding_window"]!);
        Assert.Contains("does not tie heads", Refusal(start.WithMixer(kimi).Depth(2).TiedHead(true), "kimi_linear"));
    }

    [Fact]
    public void Default_epsilon_of_the_norm_of_heads_is_that_of_the_files()
    {
        using var scope = NewDisposeScope();
        var design = HybridDesign.Create(16, 32).WithMixer(new Rwkv7Spec { Heads = 2, ValueRank = 4 })
            .WithFeedForward(new MlpSpec(24) { Activation = Activation.ReluSquared, TokenShift = true }).Pattern("WW").TiedHead(false).Build()
            with { NormKind = NormKind.LayerNorm, EmbeddingNorm = true };
        using var model = design.CreateModel(seed: 1);
        PretrainedModel.Save(model, folders["rwkv7"], "rwkv7");
        using var loaded = PretrainedModel.Load(folders["rwkv7"]);
        var ids = tensor(new long[] { 3, 1, 4 }).view(1, 3);
        Assert.True(loaded.Forward(ids).equal(model.Forward(ids)).all().item<bool>());
        using var other = (design with { NormEpsilon = 1e-3 }).CreateModel(seed: 1);
        Assert.Contains("outputNormEpsilon", Assert.Throws<ArgumentException>(() => PretrainedModel.Save(other, folders["other"], "rwkv7")).Message);
    }

    [Fact]
    public void Every_tiny_design_is_written_so_that_it_reads_the_same_or_refused_by_every_family()
    {
        int written = 0, refused = 0;
        foreach (var design in TinyDesigns.All)
        {
            using var model = TinyDesigns.Model(design.Name!);
            foreach (var family in PretrainedFamily.All)
            {
                string folder = folders[$"{family.ModelType} {design.Name}"];
                try
                {
                    PretrainedModel.Save(model, folder, family.ModelType);
                }
                catch (ArgumentException refusal)
                {
                    Assert.Contains("cannot be expressed as", refusal.Message);
                    refused++;
                    continue;
                }
                using var again = PretrainedModel.Load(folder);
                Assert.True((Logits(model) - Logits(again)).abs().max().item<float>() < 1e-5, $"{family.ModelType} {design.Name}");
                written++;
            }
        }
        Assert.True(written >= 2 && refused > 50, $"{written} written, {refused} refused");
    }

    [Fact]
    public void A_folder_with_other_files_is_not_replaced()
    {
        using var model = PretrainedModel.Load(Copy("llama"));
        Directory.CreateDirectory(folders["out"]);
        File.WriteAllText(Path.Combine(folders["out"], "thesis.txt"), "mine");
        Assert.Contains("thesis.txt", Assert.Throws<ArgumentException>(() => PretrainedModel.Save(model, folders["out"], "llama")).Message);
        Assert.True(File.Exists(Path.Combine(folders["out"], "thesis.txt")));
    }

    [Fact]
    public void Settings_that_say_nothing_of_the_design_are_kept()
    {
        string folder = Copy("granite_moe");
        using var model = PretrainedModel.Load(folder);
        var config = PretrainedConfig.Read(Path.Combine(folder, "config.json"));
        PretrainedModel.Save(model, folders["out"], "granitemoehybrid", new() { SettingsFrom = config });
        var written = JsonNode.Parse(File.ReadAllText(Path.Combine(folders["out"], "config.json")))!;
        Assert.Equal(2, (int)written["eos_token_id"]!);
        Assert.Equal(256, (int)written["max_position_embeddings"]!);
        Assert.Equal(0.013, (double)written["router_aux_loss_coef"]!);
    }
}
