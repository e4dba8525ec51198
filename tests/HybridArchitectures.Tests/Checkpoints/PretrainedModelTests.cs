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

public sealed class PretrainedModelTests : IDisposable
{
    readonly TemporaryFolder place = new();
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        place.Dispose();
    }

    string Copy(string name, params string[] without)
    {
        string target = place[name];
        Directory.CreateDirectory(target);
        foreach (string file in new[] { "config.json", "model.safetensors" }.Except(without))
            File.Copy(Path.Combine(ConformanceTests.Folder, name, file), Path.Combine(target, file));
        return target;
    }

    string CopyShards()
    {
        string target = place["shards"];
        Directory.CreateDirectory(target);
        foreach (string file in Directory.GetFiles(Path.Combine(ConformanceTests.Folder, "llama", "sharded_bf16")))
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        return target;
    }

    static void Change(string folder, string file, Action<JsonObject> change)
    {
        string path = Path.Combine(folder, file);
        var json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        change(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    static Dictionary<string, Tensor> Tensors(string folder)
    {
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        return file.Entries.ToDictionary(entry => entry.Name, entry => file.Read(entry.Name));
    }

    static void Rewrite(string folder, Action<Dictionary<string, Tensor>> change)
    {
        var tensors = Tensors(folder);
        change(tensors);
        SafetensorsFile.Write(Path.Combine(folder, "model.safetensors"), tensors);
    }

    static string Refused(string folder) => Assert.Throws<InvalidDataException>(() => PretrainedModel.Load(folder).Dispose()).Message;

    static Tensor Logits(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        return model.Forward(tensor(new long[] { 5, 9, 1, 30, 2 }).view(1, 5));
    }

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

    [Fact]
    public void A_head_beside_a_tied_embedding_that_holds_other_numbers_is_a_head_of_its_own()
    {
        string folder = Copy("llama");
        Tensor head = null!;
        Rewrite(folder, tensors => head = tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].flip(0));
        using var model = PretrainedModel.Load(folder);
        Assert.False(model.Design.TiedHead);
        Assert.True(model.Head.equal(head).all().item<bool>());
    }

    [Fact]
    public void Numbers_with_a_fraction_are_written_with_one_and_integers_without()
    {
        // the reference refuses 0 where it wants 0.0, and 2.0 where it wants 2
        using var model = PretrainedModel.Load(Copy("bamba"));
        PretrainedModel.Save(model, place["out"], "bamba");
        string written = File.ReadAllText(Path.Combine(place["out"], "config.json"));
        Assert.Contains("\"z_loss_coefficient\": 0.0", written);
        Assert.Contains("\"rope_theta\": 10000.0", written);
        Assert.Contains("\"mamba_expand\": 2,", written);
        using var falcon = PretrainedModel.Load(Copy("falcon_h1_nonorm"));
        PretrainedModel.Save(falcon, place["falcon"], "falcon_h1");
        Assert.Contains("\"mamba_expand\": 1,", File.ReadAllText(Path.Combine(place["falcon"], "config.json")));
    }

    [Fact]
    public void The_padding_id_is_read_where_the_family_has_one_and_written_back()
    {
        string folder = Copy("bamba");
        int? Read(string? value)
        {
            Change(folder, "config.json", config =>
            {
                config.Remove("pad_token_id");
                if (value is not null) config["pad_token_id"] = JsonNode.Parse(value);
            });
            return PretrainedModel.LoadDesign(folder).PaddingId;
        }
        Assert.Equal([3, null, null, null, 0], [Read("3"), Read("-1"), Read("5000"), Read("null"), Read(null)]);
        Assert.Null(PretrainedModel.LoadDesign(Copy("mamba")).PaddingId);
        Read("3");
        using var model = PretrainedModel.Load(folder);
        PretrainedModel.Save(model, place["out"], "bamba");
        Assert.Equal(3, PretrainedModel.LoadDesign(place["out"]).PaddingId);
    }

    [Fact]
    public void The_z_loss_of_bamba_is_read_added_and_written_back()
    {
        string folder = Copy("bamba");
        Change(folder, "config.json", config => config["z_loss_coefficient"] = 0.25);
        using var model = PretrainedModel.Load(folder);
        var ids = tensor(new long[] { 5, 9, 1, 30, 2 }).view(1, 5);
        var targets = tensor(new long[] { 9, 1, -100, 2, -100 }).view(1, 5);
        var loss = model.Loss(ids, targets);
        // over all positions, also those without a target
        var expected = Logits(model)[0].logsumexp(-1).square().mean().item<float>() * 0.25;
        Assert.Equal(expected, (loss.Total - loss.CrossEntropy).item<float>(), 1e-4);
        Autograd.Backward(loss.Total - loss.CrossEntropy);
        var ours = model.Head.grad!.clone();
        model.Head.grad = null;
        Autograd.Backward(model.Forward(ids).logsumexp(-1).square().mean() * 0.25);
        Assert.True((ours - model.Head.grad!).abs().max().item<float>() < 1e-5);
        PretrainedModel.Save(model, place["out"], "bamba");
        Assert.Equal((0.25, true), (PretrainedModel.LoadDesign(place["out"]).HeadZLoss,
            PretrainedModel.LoadDesign(place["out"]).HeadZLossEverywhere));
    }

    [Theory]
    [InlineData("bamba", "null", 4)]
    [InlineData("bamba", null, 8)]
    [InlineData("jamba", "null", 4)]
    [InlineData("nemotron_h_dense", null, 8)]
    [InlineData("lfm2", null, 8)]
    [InlineData("llama", null, 4)]
    [InlineData("granite_dense", "null", 4)]
    public void Key_and_value_heads_that_are_null_are_as_many_as_the_queries_and_absent_ones_the_family_s(string name, string? written, int expected)
    {
        string folder = Copy(name, "model.safetensors");
        Change(folder, "config.json", config =>
        {
            config["num_attention_heads"] = expected;
            config["head_dim"] = 8;
            config.Remove("num_key_value_heads");
            if (written is not null) config["num_key_value_heads"] = JsonNode.Parse(written);
        });
        Assert.Equal(expected, PretrainedModel.LoadDesign(folder).Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First().KeyValueHeads);
    }

    [Theory]
    [InlineData("jamba")]
    [InlineData("granite_moe")]
    [InlineData("bamba")]
    public void A_head_size_that_is_written_counts(string name)
    {
        string folder = Copy(name, "model.safetensors");
        Change(folder, "config.json", config => config["head_dim"] = 10);
        Assert.Equal(10, PretrainedModel.LoadDesign(folder).Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First().HeadSize);
    }

    [Theory]
    [InlineData("bamba", "partial_rotary_factor", "0.25", 0.25, 0.5)]       // transformers takes it from the section alone
    [InlineData("bamba", "rope_parameters", "{\"rope_theta\":7.0,\"partial_rotary_factor\":0.25}", 0.25, 0.25)]
    [InlineData("bamba", "rope_scaling", "{\"rope_type\":\"default\",\"partial_rotary_factor\":0.75}", 0.75, 0.75)]
    [InlineData("qwen3_next", "partial_rotary_factor", "0.75", 0.75, 0.75)]
    [InlineData("llama", "rope_parameters", "{\"rope_theta\":7.0,\"partial_rotary_factor\":0.5}", null, 1.0)]      // transformers ignores it here
    public void The_rotated_part_is_read_where_the_family_reads_it(string name, string key, string value, double? expected, double inTransformers)
    {
        string folder = Copy(name, "model.safetensors");
        Change(folder, "config.json", config =>
        {
            if (key != "rope_scaling") config.Remove("rope_parameters");
            config[key] = JsonNode.Parse(value);
        });
        double Fraction(PretrainedLoadOptions? options) =>
            PretrainedModel.LoadDesign(folder, options).Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First().Rotary!.Fraction;
        if (expected is { } part) Assert.Equal(part, Fraction(null));
        else Assert.Contains("partial_rotary_factor is 0.5; expected 1", Assert.Throws<InvalidDataException>(() => Fraction(null)).Message);
        Assert.Equal(inTransformers, Fraction(ConformanceCase.AsRecorded));
    }

    [Theory]
    [InlineData("mamba", "hidden_act")]
    [InlineData("falcon_mamba", "hidden_act")]
    [InlineData("mamba2", "hidden_act")]
    [InlineData("bamba", "hidden_act")]
    [InlineData("jamba", "hidden_act")]
    [InlineData("granite_moe", "hidden_act")]
    [InlineData("granite_attention", "hidden_act")]
    [InlineData("falcon_h1_norm_before", "hidden_act")]
    [InlineData("qwen3_next", "hidden_act")]
    [InlineData("nemotron_h_moe", "mamba_hidden_act")]
    [InlineData("nemotron_h_moe", "mlp_hidden_act")]
    public void Other_nonlinearities_are_read_used_and_written_back(string name, string key)
    {
        string folder = Copy(name), family = PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType;
        Tensor before;
        using (var usual = PretrainedModel.Load(folder)) before = Logits(usual);
        Change(folder, "config.json", config => config[key] = "gelu");
        using var model = PretrainedModel.Load(folder);
        Assert.True((Logits(model) - before).abs().max().item<float>() > 1e-3);
        PretrainedModel.Save(model, place["out"], family);
        Assert.Equal(model.Design, PretrainedModel.LoadDesign(place["out"]) with { Name = model.Design.Name, PaddingId = model.Design.PaddingId });
    }

    [Fact]
    public void Zamba2_of_long_contexts_has_a_larger_rotary_base_and_keeps_it_when_it_is_written()
    {
        string folder = Copy("zamba2");
        var plain = PretrainedModel.LoadDesign(folder, ConformanceCase.AsRecorded);
        Change(folder, "config.json", config => config["use_long_context"] = true);
        Assert.Equal(plain, PretrainedModel.LoadDesign(folder, ConformanceCase.AsRecorded));
        using var model = PretrainedModel.Load(folder);
        // 8 times the context at a head size of 16: the longest wavelength becomes 8 times as long
        double theta = model.Design.SharedTransformers[0].Attention.Rotary!.Theta;
        Assert.Equal(10_000 * Math.Pow(8, 16 / 14.0), theta, 6);
        PretrainedModel.Save(model, place["out"], "zamba2", new() { SettingsFrom = PretrainedConfig.Read(Path.Combine(folder, "config.json")) });
        Assert.Equal(theta, PretrainedModel.LoadDesign(place["out"]).SharedTransformers[0].Attention.Rotary!.Theta, 6);
    }

    [Fact]
    public void Lfm2_without_a_factor_is_read_as_the_reference_reads_it()
    {
        string other = Copy("lfm2", "model.safetensors");
        int Inner(Action<JsonObject> change)
        {
            Change(other, "config.json", change);
            return ((SwiGluSpec)PretrainedModel.LoadDesign(other).Blocks[0].FeedForward).Width;
        }
        Change(other, "config.json", config => (config["intermediate_size"], config["block_multiple_of"]) = (61, 16));
        Assert.Equal(48, Inner(config => config.Remove("block_ffn_dim_multiplier")));      // 2/3 of 61, rounded up to a multiple
        Assert.Equal(40, Inner(config => config["block_ffn_dim_multiplier"] = null));       // and not rounded
    }

    [Theory]
    [InlineData("zamba2", "null", 0.001)]
    [InlineData("zamba2", "0.05", 0.05)]
    [InlineData("nemotron_h_dense", "0.02", 0.02)]
    [InlineData("nemotron_h_dense", "0.0", null)]
    public void The_least_time_step_of_transformers_is_read_on_request_clamps_and_is_written_back(string name, string written, double? least)
    {
        string folder = Copy(name), family = PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType;
        Tensor before;
        using (var unclamped = PretrainedModel.Load(folder)) before = Logits(unclamped);
        Change(folder, "config.json", config => config["time_step_min"] = JsonNode.Parse(written));
        using (var trained = PretrainedModel.Load(folder)) Assert.Equal(0, (Logits(trained) - before).abs().max().item<float>());
        using var model = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
        Assert.Equal(least, model.Design.Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>().First().TimeStepLimit?.Minimum);
        Assert.Equal(least is > 0.01, (Logits(model) - before).abs().max().item<float>() > 1e-4);
        PretrainedModel.Save(model, place["out"], family);
        Assert.Equal(model.Design, PretrainedModel.LoadDesign(place["out"]) with { Name = model.Design.Name });
    }

    [Fact]
    public void An_unknown_family_is_refused_with_the_known_ones()
    {
        string folder = Copy("llama");
        Change(folder, "config.json", config => config["model_type"] = "gpt9");
        Assert.Contains("\"gpt9\"; expected one of bamba, falcon_h1, falcon_mamba, granitemoehybrid, jamba, kimi_linear, lfm2, lfm2_moe, llama",
            Refused(folder));
        Change(folder, "config.json", config => config.Remove("model_type"));
        Assert.Contains("model_type is absent", Refused(folder));
    }

    [Theory]
    [InlineData("hidden_size", 1 << 30)]
    [InlineData("num_hidden_layers", 1 << 30)]
    [InlineData("num_hidden_layers", 4000)]
    [InlineData("vocab_size", 1 << 20)]
    [InlineData("vocab_size", -1)]
    [InlineData("num_attention_heads", 0)]
    [InlineData("intermediate_size", 1 << 20)]
    [InlineData("head_dim", 1 << 20)]
    public void Sizes_that_only_the_configuration_claims_cost_no_memory(string key, int value)
    {
        string folder = Copy("llama");
        Change(folder, "config.json", config => config[key] = value);
        long before = System.Diagnostics.Process.GetCurrentProcess().PeakWorkingSet64;
        Assert.Contains("config.json", Refused(folder));
        Assert.True(System.Diagnostics.Process.GetCurrentProcess().PeakWorkingSet64 - before < 500 << 20);
    }

    [Theory]
    [InlineData("hidden_size", "\"wide\"", "an integer")]
    [InlineData("tie_word_embeddings", "3", "true or false")]
    [InlineData("hidden_act", "\"sinus\"", "silu")]
    [InlineData("rope_parameters", "{\"rope_type\":\"su\"}", "one of default, llama3, linear, dynamic, yarn, longrope, proportional")]
    [InlineData("rope_parameters", "[]", "an object")]
    [InlineData("rms_norm_eps", "-1", "a finite number above 0")]
    public void A_setting_that_cannot_be_is_refused_by_name(string key, string value, string expected)
    {
        string folder = Copy("llama");
        Change(folder, "config.json", config => config[key] = JsonNode.Parse(value));
        Assert.Contains(expected, Refused(folder));
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
        Assert.Throws<DirectoryNotFoundException>(() => PretrainedModel.Load(place["nowhere"]));
    }

    [Fact]
    public void Infinite_limits_are_read_in_every_spelling()
    {
        string folder = Copy("bamba"), path = Path.Combine(folder, "config.json"), text = File.ReadAllText(path);
        var design = PretrainedModel.LoadDesign(folder);
        string bare = System.Text.RegularExpressions.Regex.Replace(text, "\\{\\s*\"__float__\": \"Infinity\"\\s*\\}", "Infinity");
        Assert.NotEqual(text, bare);
        File.WriteAllText(path, bare.Replace("\"hidden_act\"", "\"_note\": \"to Infinity \\\" and NaN\", \"hidden_act\""));
        Assert.Equal(design, PretrainedModel.LoadDesign(folder));
        Assert.Null(((Mamba2Spec)design.Blocks[0].Mixer!).TimeStepLimit);
    }

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
    public void Nemotron_has_biases_in_attention_where_its_file_has_them()
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
        PretrainedModel.Save(biased, place["out"], "nemotron_h");
        using var again = PretrainedModel.Load(place["out"]);
        Assert.Equal(biased.Design.Blocks, PretrainedModel.LoadDesign(place["out"]).Blocks);
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

    [Theory]
    [InlineData(ScalarType.Float32, 0)]
    [InlineData(ScalarType.BFloat16, 0.05)]
    public void A_design_trained_here_is_published_and_read_back(ScalarType type, double tolerance)
    {
        var design = HybridDesign.Create(width: 32, vocabularySize: 50)
            .WithAttention(heads: 4, keyValueHeads: 2, rotary: new RotarySpec { Theta = 20_000 })
            .WithMamba2(stateSize: 8, headSize: 16).WithFeedForward(FeedForwardSpec.SwiGlu(48)).Depth(4).Ratio(1, 3).TiedHead(false).Build();
        using var model = design.CreateModel(seed: 3);
        PretrainedModel.Save(model, place["out"], "bamba", new() { Type = type, ShardBytes = 20_000 });
        Assert.True(File.Exists(Path.Combine(place["out"], "model.safetensors.index.json")));
        PretrainedModel.Save(model, place["out"], "bamba", new() { Type = type });                // replaces an earlier save, shards and all
        Assert.Equal(["config.json", "model.safetensors"], Directory.GetFiles(place["out"]).Select(path => Path.GetFileName(path)).Order());
        using var again = PretrainedModel.Load(place["out"]);
        Assert.True((Logits(model) - Logits(again)).abs().max().item<float>() <= tolerance);
    }

    [Fact]
    public void A_design_that_a_family_cannot_express_is_refused_with_what_differs()
    {
        using var model = TinyDesigns.Model("sliding window");
        string message = Assert.Throws<ArgumentException>(() => PretrainedModel.Save(model, place["out"], "llama")).Message;
        Assert.Contains("design cannot be expressed as llama", message);
        Assert.Contains("window", message);
        using var mixed = TinyDesigns.Model("inter");
        Assert.Contains("cannot be expressed as llama",
            Assert.Throws<ArgumentException>(() => PretrainedModel.Save(mixed, place["out"], "llama")).Message);
        Assert.Contains("expected one of bamba", Assert.Throws<ArgumentException>(() => PretrainedModel.Save(mixed, place["out"], "gpt9")).Message);
        Assert.False(Directory.Exists(place["out"]));
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
                string folder = place[$"{family.ModelType} {design.Name}"];
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
        Directory.CreateDirectory(place["out"]);
        File.WriteAllText(Path.Combine(place["out"], "thesis.txt"), "mine");
        Assert.Contains("thesis.txt", Assert.Throws<ArgumentException>(() => PretrainedModel.Save(model, place["out"], "llama")).Message);
        Assert.True(File.Exists(Path.Combine(place["out"], "thesis.txt")));
    }

    [Fact]
    public void Settings_that_say_nothing_of_the_design_are_kept()
    {
        string folder = Copy("granite_moe");
        using var model = PretrainedModel.Load(folder);
        var config = PretrainedConfig.Read(Path.Combine(folder, "config.json"));
        PretrainedModel.Save(model, place["out"], "granitemoehybrid", new() { SettingsFrom = config });
        var written = JsonNode.Parse(File.ReadAllText(Path.Combine(place["out"], "config.json")))!;
        Assert.Equal(2, (int)written["eos_token_id"]!);
        Assert.Equal(256, (int)written["max_position_embeddings"]!);
        Assert.Equal(0.013, (double)written["router_aux_loss_coef"]!);
    }
}
