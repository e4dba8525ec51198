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

/// <summary>Tests how the tensors and files of a checkpoint are found and read.</summary>
public sealed class PretrainedTensorsTests : PretrainedFolderTests
{
    [Fact]
    public void Missing_unexpected_and_misshapen_tensors_are_named_together()
    {
        string folder = Copy("llama");
        Rewrite(folder, tensors =>
        {
            tensors.Remove("model.norm.weight");
            tensors["model.extra.weight"] = zeros(3);
            tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"].t().contiguous();
        });
        string message = Refused(folder);
        Assert.Contains("missing: model.norm.weight", message);
        Assert.Contains("unexpected: model.extra.weight", message);
        Assert.Contains("model.layers.1.mlp.up_proj.weight: Float32[32, 56] (expected floating-point [56, 32])", message);
    }

    [Fact]
    public void A_tied_head_may_be_in_the_file_and_an_untied_one_must()
    {
        string tied = Copy("llama"), untied = Copy("bamba");
        Rewrite(tied, tensors => tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone());
        using (var model = PretrainedModel.Load(tied)) Assert.True(model.Design.TiedHead);
        Rewrite(untied, tensors => tensors.Remove("lm_head.weight"));
        Assert.Contains("missing: lm_head.weight", Refused(untied));
    }

    [Theory]
    [InlineData("gated_deltanet")]
    [InlineData("delta_net")]
    [InlineData("gla")]
    [InlineData("hgrn2")]
    public void Older_files_of_flash_linear_attention_have_gate_and_up_in_one_tensor(string name)
    {
        string folder = Copy(name);
        using var expected = PretrainedModel.Load(folder);
        int layers = expected.Design.Depth;
        Rewrite(folder, tensors =>
        {
            for (int layer = 0; layer < layers; layer++)
            {
                string prefix = $"model.layers.{layer}.";
                tensors.Remove(prefix + "mlp.up_proj.weight", out var up);
                tensors[prefix + "mlp.gate_proj.weight"] = cat([tensors[prefix + "mlp.gate_proj.weight"], up!], 0);
                if (name == "gated_deltanet") tensors[prefix + "attn.D"] = ones(4);
            }
        });
        using var model = PretrainedModel.Load(folder);
        foreach (var (key, value) in expected.State) Assert.True(value.equal(model.State[key]).all().item<bool>(), key);
    }

    [Fact]
    public void Older_files_of_RWKV_7_have_one_tensor_for_all_shifts_of_a_layer()
    {
        string folder = Copy("rwkv7");
        using var expected = PretrainedModel.Load(folder);
        Rewrite(folder, tensors =>
        {
            for (int layer = 0; layer < 3; layer++)
            {
                string prefix = $"model.layers.{layer}.attn.x_";
                var rows = "rwkvag".Select(letter => tensors[prefix + letter].flatten()).ToArray();
                foreach (char letter in "rwkvag") tensors.Remove(prefix + letter);
                tensors[prefix + "x"] = stack(rows, 0);
            }
        });
        using var model = PretrainedModel.Load(folder);
        foreach (var (name, value) in expected.State) Assert.True(value.equal(model.State[name]).all().item<bool>(), name);
    }

    [Fact]
    public void A_head_next_to_a_tied_embedding_with_other_numbers_is_a_separate_head()
    {
        string folder = Copy("llama");
        Tensor head = null!;
        Rewrite(folder, tensors => head = tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].flip(0));
        using var model = PretrainedModel.Load(folder);
        Assert.False(model.Design.TiedHead);
        Assert.True(model.Head.equal(head).all().item<bool>());
    }

    [Theory]
    [InlineData("../model.safetensors")]
    [InlineData("/etc/model.safetensors")]
    [InlineData("sub/model.safetensors")]
    [InlineData("..\\model.safetensors")]
    [InlineData("C:model.safetensors")]
    [InlineData(".safetensors")]
    [InlineData("model.bin")]
    [InlineData("")]
    public void A_shard_outside_the_folder_is_refused(string name)
    {
        string folder = CopyShards();
        Change(folder, "model.safetensors.index.json", index => index["weight_map"]!["model.norm.weight"] = name);
        Assert.Contains("is not the plain name", Refused(folder));
    }

    [Fact]
    public void An_index_that_disagrees_with_its_shards_is_refused()
    {
        string folder = CopyShards();
        Change(folder, "model.safetensors.index.json", index => index["weight_map"]!["model.other.weight"] = "model-00001-of-00003.safetensors");
        Assert.Contains("'model.other.weight' is not in 'model-00001-of-00003.safetensors'", Refused(folder));
        Change(folder, "model.safetensors.index.json", index => index["weight_map"]!["model.other.weight"] = "model-00009-of-00003.safetensors");
        Assert.Contains("'model-00009-of-00003.safetensors' does not exist", Refused(folder));
        File.WriteAllText(Path.Combine(folder, "model.safetensors.index.json"), "{\"weight_map\": 3}");
        Assert.Contains("weight_map", Refused(folder));
    }

    [Fact]
    public void A_folder_without_weights_or_configuration_says_what_is_missing()
    {
        Assert.Contains("neither model.safetensors",
            Assert.Throws<FileNotFoundException>(() => PretrainedModel.Load(Copy("llama", without: "model.safetensors"))).Message);
        Assert.Contains("config.json",
            Assert.Throws<FileNotFoundException>(() => PretrainedModel.Load(Copy("mamba", without: "config.json"))).Message);
        Assert.Throws<DirectoryNotFoundException>(() => PretrainedModel.Load(folders["nowhere"]));
    }

    [Fact]
    public void A_folder_of_the_other_kind_names_what_reads_it()
    {
        string published = Copy("llama");
        using (var model = PretrainedModel.Load(published)) Checkpoint.Save(model, folders["own"]);
        Assert.Contains("Checkpoint.Load reads the design.json of this folder",
            Assert.Throws<FileNotFoundException>(() => PretrainedModel.Load(folders["own"])).Message);
        Assert.Contains("PretrainedModel.Load reads the config.json of this folder",
            Assert.Throws<FileNotFoundException>(() => Checkpoint.Load(published)).Message);
    }

    [Fact]
    public void A_family_is_shown_by_its_name() => Assert.Equal("granitemoehybrid", $"{PretrainedFamily.Find("granitemoehybrid")}");

    [Theory]
    [InlineData("jamba", "model.layers.{0}.feed_forward.experts.", true)]
    [InlineData("nemotron_h_moe", "backbone.layers.{0}.mixer.experts.", false)]
    [InlineData("qwen3_next", "model.layers.{0}.mlp.experts.", true)]
    public void Experts_in_one_tensor_are_the_same_model_as_experts_one_by_one(string name, string prefix, bool gated)
    {
        string folder = Copy(name);
        using var each = PretrainedModel.Load(folder);
        Rewrite(folder, tensors =>
        {
            for (int layer = 0; layer < each.Design.Depth; layer++)
            {
                string at = string.Format(System.Globalization.CultureInfo.InvariantCulture, prefix, layer);
                Tensor Stack(string matrix) =>
                    stack([.. Enumerable.Range(0, 99).Select(i => $"{at}{i}.{matrix}_proj.weight").TakeWhile(tensors.ContainsKey)
                    .Select(key => tensors[key])]);
                if (!tensors.ContainsKey($"{at}0.up_proj.weight")) continue;
                var (up, down) = (Stack("up"), Stack("down"));
                var first = gated ? cat([Stack("gate"), up], 1) : up;
                foreach (string key in tensors.Keys.Where(key => key.StartsWith(at, StringComparison.Ordinal)).ToArray()) tensors.Remove(key);
                tensors[at + (gated ? "gate_up_proj" : "up_proj")] = first;
                tensors[at + "down_proj"] = down;
            }
        });
        using var together = PretrainedModel.Load(folder);
        Assert.All(each.State, item => Assert.True(item.Value.equal(together.State[item.Key]).all().item<bool>()));
    }

    [Fact]
    public void Nemotron_in_its_other_prefix_loads()
    {
        string folder = Copy("nemotron_h_latent");
        using var usual = PretrainedModel.Load(folder);
        Rewrite(folder, tensors =>
        {
            foreach (string key in tensors.Keys.Where(key => key.StartsWith("backbone.", StringComparison.Ordinal)).ToArray())
                if (tensors.Remove(key, out var value)) tensors["model." + key["backbone.".Length..]] = value;
            tensors["mtp.layers.0.weight"] = zeros(3);
        });
        using var other = PretrainedModel.Load(folder);
        Assert.Equal(0, (Logits(usual) - Logits(other)).abs().max().item<float>());
    }

    [Fact]
    public void Nemotron_has_biases_in_attention_if_its_file_has_them()
    {
        string folder = Copy("nemotron_h_dense");
        using var plain = PretrainedModel.Load(folder);
        int layer = Enumerable.Range(0, plain.Design.Depth).First(index => plain.Design.Blocks[index].Mixer is AttentionSpec);
        Change(folder, "config.json", config => config["attention_bias"] = true);
        // transformers writes no biases in spite of the setting
        using (var without = PretrainedModel.Load(folder)) Assert.Equal(plain.Design, without.Design);
        Rewrite(folder, tensors =>
        {
            foreach (string part in new[] { "q", "k", "v", "o" })
            {
                for (int i = 0; i < plain.Design.Depth; i++)
                {
                    string name = $"backbone.layers.{i}.mixer.{part}_proj.";
                    if (tensors.TryGetValue(name + "weight", out var weight)) tensors[name + "bias"] = full(weight.size(0), 0.1f);
                }
            }
        });
        using var biased = PretrainedModel.Load(folder);
        Assert.Equal(0.1f, biased.State[$"stack.blocks.{layer}.mixer.value.bias"][0].item<float>());
        Assert.True((Logits(biased) - Logits(plain)).abs().max().item<float>() > 1e-3);
        PretrainedModel.Save(biased, folders["out"], "nemotron_h");
        using var again = PretrainedModel.Load(folders["out"]);
        Assert.Equal(biased.Design.Blocks, PretrainedModel.LoadDesign(folders["out"]).Blocks);
        Assert.Equal(0, (Logits(biased) - Logits(again)).abs().max().item<float>());
    }

    [Fact]
    public void Progress_rises_to_one()
    {
        var seen = new List<double>();
        PretrainedModel.Load(Copy("mamba"), progress: new Listener(seen)).Dispose();
        Assert.Equal(seen.Order(), seen);
        Assert.Equal(1, seen[^1]);
    }

    sealed class Listener(List<double> seen) : IProgress<double>
    {
        public void Report(double value) => seen.Add(value);
    }
}
