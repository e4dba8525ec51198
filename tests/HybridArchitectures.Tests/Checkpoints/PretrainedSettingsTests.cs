using System.Text.Json.Nodes;
using HybridArchitectures.Adapters;
using HybridArchitectures.Chat;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Tests settings that are stated twice, unknown or published.</summary>
public sealed class PretrainedSettingsTests : ChangedCaseTests
{
    [Fact]
    public void Falcon_Mamba_7B_has_the_parameters_of_the_width_it_states()
    {
        var design = PretrainedModel.LoadDesign(Write("""
            {
              "model_type": "falcon_mamba", "hidden_size": 4096, "intermediate_size": 8192, "expand": 16, "num_hidden_layers": 64, "state_size": 16,
              "conv_kernel": 4, "time_step_rank": 256, "vocab_size": 65024, "layer_norm_epsilon": 1e-5, "mixer_rms_eps": 1e-6, "use_bias": false,
              "use_conv_bias": true, "tie_word_embeddings": false
            }
            """));
        // two embeddings, the last norm, and 64 layers of in_proj, conv1d, x_proj, dt_proj, A_log, D, out_proj and norm
        const long d = 4096, e = 8192, n = 16, r = 256, layer = 2 * e * d + 5 * e + (r + 2 * n) * e + r * e + e + e * n + e + e * d + d;
        Assert.Equal(2 * 65024 * d + d + 64 * layer, design.CountParameters().Total);
        Assert.Equal(7_272_665_088, design.CountParameters().Total);
    }

    [Theory]
    [InlineData("mamba")]
    [InlineData("falcon_mamba")]
    public void An_inner_width_that_is_stated_wins_over_the_factor_and_is_written_back(string name)
    {
        string folder = Copy(name, config => config["expand"] = 16, weights: true);
        using var model = PretrainedModel.Load(folder);
        var mixer = (Mamba1Spec)model.Design.Blocks[0].Mixer!;
        Assert.Equal(2 * model.Design.Width, mixer.InnerWidth);
        // and it need be no multiple of the width
        var wider = mixer with { InnerWidth = mixer.InnerWidth + 3 };
        var odd = model.Design with { Blocks = [.. model.Design.Blocks.Select(block => block with { Mixer = wider })] };
        File.WriteAllText(Path.Combine(folder, "config.json"), PretrainedFamily.Find(name)!.WriteConfig(odd).ToJsonString());
        Assert.Equal(mixer.InnerWidth + 3, ((Mamba1Spec)PretrainedModel.LoadDesign(folder).Blocks[0].Mixer!).InnerWidth);
    }

    [Theory]
    [InlineData("mamba", 48, 1.5)]
    [InlineData("jamba", 48, 1.5)]
    public void A_factor_on_the_width_may_have_a_fraction(string name, int expected, double factor)
    {
        string folder = Copy(name, config =>
        {
            config.Remove("intermediate_size");
            if (name == "jamba") config["intermediate_size"] = 20;
            config[name == "jamba" ? "mamba_expand" : "expand"] = factor;
        });
        Assert.Equal(expected, PretrainedModel.LoadDesign(folder).Blocks.Select(block => block.Mixer).OfType<Mamba1Spec>().First().InnerWidth);
    }

    [Theory]
    [InlineData("mamba", "d_inner", "65", "64")]
    [InlineData("mamba", "d_model", "33", "32")]
    [InlineData("mamba", "n_layer", "4", "3")]
    [InlineData("mamba2", "num_heads", "5", "expand x hidden_size = 64")]
    [InlineData("mamba2", "intermediate_size", "65", "64")]
    [InlineData("bamba", "mamba_d_head", "17", "equal to 64, as mamba_expand x hidden_size says")]
    [InlineData("bamba", "attn_rotary_emb", "8", "4")]
    [InlineData("granite_moe", "mamba_n_heads", "5", "equal to 64, as mamba_expand x hidden_size says")]
    [InlineData("falcon_h1_nonorm", "mamba_d_ssm", "50", "equal to 50, as mamba_d_ssm says")]
    [InlineData("nemotron_h_dense", "attention_head_dim", "16", "12, as head_dim says")]
    [InlineData("nemotron_h_dense", "num_query_groups", "4", "2")]
    [InlineData("nemotron_h_dense", "rms_norm_eps", "1e-6", "1E-05")]
    [InlineData("nemotron_h_dense", "num_hidden_layers", "7", "as the list of layers says")]
    [InlineData("nemotron_h_dense", "hybrid_override_pattern", "\"MMMMMM\"", "the layers that layers_block_type lists")]
    [InlineData("nemotron_h_dense", "mamba_n_groups", "4", "4, as mamba_n_groups says")]
    [InlineData("zamba2", "mamba_headdim", "8", "16")]
    [InlineData("zamba2", "attention_head_dim", "8", "16")]
    [InlineData("zamba2", "attention_hidden_size", "32", "64")]
    [InlineData("zamba2", "hybrid_layer_ids", "[1, 2]", "the layers that layers_block_type calls hybrid")]
    [InlineData("zamba2", "n_mamba_heads", "5", "a divisor of mamba_expand x hidden_size = 64")]
    [InlineData("lfm2", "conv_dim", "31", "32")]
    [InlineData("lfm2", "num_heads", "3", "4")]
    [InlineData("lfm2", "full_attn_idxs", "[0]", "the layers that layer_types calls full_attention")]
    [InlineData("jamba", "attn_layer_offset", "3", "0 to 2")]
    [InlineData("llama", "num_attention_heads", "5", "a divisor of hidden_size = 32, or head_dim")]
    [InlineData("granite_moe", "layers_block_type", "[\"mamba\"]", "as layer_types says")]
    public void A_size_that_contradicts_another_is_refused_by_name(string name, string key, string value, string expected)
    {
        string message = Refused(Copy(name, config =>
        {
            if (name == "llama") config.Remove("head_dim");
            config[key] = JsonNode.Parse(value);
        }));
        // where two settings make up a third, the first of them is named
        string named = key is "mamba_d_head" or "mamba_d_ssm" ? "mamba_n_heads" : key == "mamba_n_groups" ? "n_groups" : key;
        Assert.Contains($"{named} is", message);
        Assert.Contains(expected, message);
    }

    [Theory]
    [InlineData("mamba", "d_inner", "64")]
    [InlineData("bamba", "attn_rotary_emb", "4")]
    [InlineData("nemotron_h_dense", "attention_head_dim", "12")]
    [InlineData("nemotron_h_dense", "hybrid_override_pattern", "\"M-M*-\"")]
    [InlineData("granite_moe", "layers_block_type", "same, in the older words")]
    [InlineData("lfm2", "conv_dim", "32")]
    public void A_size_stated_twice_alike_is_read(string name, string key, string value)
    {
        string folder = Copy(name, config =>
        {
            if (key == "hybrid_override_pattern") config.Remove("layers_block_type");
            string older = (config["layer_types"]?.ToJsonString() ?? "").Replace("linear_attention", "mamba").Replace("full_attention", "attention");
            config[key] = JsonNode.Parse(value == "same, in the older words" ? older : value);
            if (key == "hybrid_override_pattern") config["num_hidden_layers"] = 5;
        });
        Assert.True(PretrainedModel.LoadDesign(folder).CountParameters().Total > 0);
    }

    [Theory]
    [InlineData("llama", "{\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\":500000.0}}", "full_attention is")]
    [InlineData("bamba", "{\"rope_type\":\"default\",\"rope_theta\":10000.0,\"factor\":8.0}", "factor is 8.0")]
    [InlineData("qwen3_next", "{\"rope_type\":\"default\",\"mrope_section\":[2,1,1]}", "mrope_section is [2,1,1]")]
    [InlineData("falcon_h1_nonorm", "{\"rope_type\":\"default\",\"rope_theta_scale\":2}", "rope_theta_scale is 2")]
    [InlineData("llama", "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"attention_factor\":1.2}", "attention_factor is 1.2")]
    [InlineData("llama", "{\"rope_type\":\"yarn\",\"factor\":2.0,\"original_max_position_embeddings\":64,\"alpha\":3}", "alpha is 3")]
    [InlineData("llama", "{\"rope_type\":\"linear\",\"factor\":0.5}", "scaling.factor is 0.5; expected a finite number of at least 1")]
    [InlineData("llama", "{\"rope_type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1],\"original_max_position_embeddings\":64}",
        "shortFactors is a list of 1; expected 6 factors")]
    [InlineData("llama", "{\"rope_type\":\"default\",\"type\":\"llama3\"}", "type is \"llama3\"; expected \"default\", as rope_type says")]
    public void Rotary_settings_that_are_not_known_are_refused_by_name(string name, string section, string expected)
    {
        foreach (string key in new[] { "rope_parameters", "rope_scaling" })
            Assert.Contains(expected, Refused(Copy(name, config => config[key] = JsonNode.Parse(section))));
    }

    [Fact]
    public void A_base_in_the_rotary_section_wins_over_the_one_next_to_it()
    {
        double Theta(string name, Action<JsonObject> change) =>
            PretrainedModel.LoadDesign(Copy(name, change)).Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First().Rotary!.Theta;
        Assert.Equal(10_000, Theta("llama", config => config["rope_theta"] = 7.0));
        Assert.Equal(7, Theta("llama", config =>
        {
            config["rope_theta"] = 7.0;
            config["rope_parameters"]!.AsObject().Remove("rope_theta");
        }));
        // a section of the older name counts before one of the newer
        Assert.Equal(9, Theta("bamba", config => config["rope_scaling"] = JsonNode.Parse("""{ "rope_type": "default", "rope_theta": 9.0 }""")));
        Assert.Contains("rope_theta is 5; expected 6, as theta says", Refused(Copy("lfm2", config =>
        {
            config.Remove("rope_parameters");
            (config["theta"], config["rope_theta"]) = (6, 5);
        })));
    }

    [Theory]
    [InlineData("llama", "attn_logit_softcapping", "30.0")]
    [InlineData("llama", "text_config", "{\"hidden_size\":64}")]
    [InlineData("llama", "sliding_window", "16")]
    [InlineData("llama", "use_qk_norm", "true")]
    [InlineData("jamba", "sliding_window", "16")]
    [InlineData("jamba", "mamba_inner_layernorms", "false")]
    [InlineData("mamba", "rms_norm", "false")]
    [InlineData("mamba", "ssm_cfg", "{\"layer\":\"Mamba2\"}")]
    [InlineData("mamba2", "rms_norm", "false")]
    [InlineData("qwen3_next", "attn_output_gate", "false")]
    [InlineData("granite_moe", "normalization_function", "\"layernorm\"")]
    [InlineData("granite_moe", "position_embedding_type", "\"alibi\"")]
    [InlineData("lfm2", "use_pos_enc", "false")]
    [InlineData("lfm2", "num_dense_layers", "2")]
    [InlineData("mistral", "layer_types", "[\"sliding_attention\"]")]
    [InlineData("kimi_linear", "mla_use_nope", "false")]
    [InlineData("kimi_linear", "mla_use_output_gate", "true")]
    [InlineData("kimi_linear", "moe_router_activation_func", "\"softmax\"")]
    [InlineData("kimi_linear", "attn_res_block_size", "4")]
    [InlineData("lfm2_moe", "block_ff_dim", "40")]
    [InlineData("olmo_hybrid", "sliding_window", "16")]
    [InlineData("qwen3_5", "attn_output_gate", "false")]
    [InlineData("qwen3_5_full", "audio_config", "{\"depth\":2}")]
    [InlineData("nemotron_h_moe", "sliding_window", "16")]
    [InlineData("falcon_h1_nonorm", "mamba_use_mlp", "false")]
    [InlineData("zamba2", "gated_linear_unit", "false")]
    [InlineData("bamba", "expert_layer_period", "2")]
    [InlineData("falcon_mamba", "attn_layer_indices", "[1]")]
    public void Settings_that_change_the_model_in_a_way_that_is_not_known_are_refused_by_name(string name, string key, string value)
    {
        string message = Refused(Copy(name, config => config[key] = JsonNode.Parse(value)));
        Assert.Contains($"config.json: {key} is {value}; expected", message);
    }

    [Theory]
    [InlineData("granite_moe", "rope_parameters", "{\"rope_theta\":5.0,\"rope_new\":1}", "rope_new")]
    [InlineData("granite_moe", "rope_parameters", "{\"full_attention\":{\"rope_new\":1}}", "rope_new")]
    [InlineData("granite_moe", "rope_scaling", "{\"rope_new\":1}", "rope_new")]
    [InlineData("olmo_hybrid", "rope_parameters", "{\"rope_theta\":null,\"rope_new\":1}", "rope_new")]
    [InlineData("mamba2", "time_step_limit", "[0.0,{\"__float__\":\"Infinity\",\"unit\":1}]", "time_step_limit")]
    public void Unknown_keys_are_refused_also_in_sections_that_no_layer_uses(string name, string key, string value, string named)
    {
        string message = Refused(Copy(name, config => config[key] = JsonNode.Parse(value)));
        Assert.Matches($"{named} is .*; expected", message);
    }

    [Theory]
    [InlineData("mamba", "mixer_rms_eps", "1e-6")]          // the norms of Falcon Mamba, which this family does not have
    [InlineData("llama", "embedding_dropout", "0.1")]
    [InlineData("granite_moe", "rope_parameters", "{\"full_attention\":{\"rope_theta\":5.0}}")]       // its attention has no positions
    [InlineData("nemotron_h_dense", "rope_theta", "10000")]
    [InlineData("qwen3_next", "sliding_window", "4096", "use_sliding_window")]
    [InlineData("qwen3", "sliding_window", "4096", "use_sliding_window")]
    [InlineData("kimi_linear", "rope_theta", "10000.0")]
    public void Settings_that_change_nothing_in_the_family_are_read(string name, string key, string value, string? off = null)
    {
        var plain = PretrainedModel.LoadDesign(Path.Combine(ConformanceTests.Folder, name));
        Assert.Equal(plain, PretrainedModel.LoadDesign(Copy(name, config =>
        {
            config[key] = JsonNode.Parse(value);
            if (off is not null) config[off] = false;
        })));
    }

    [Fact]
    public void Unknown_settings_are_listed_together_and_ignored_on_request()
    {
        string folder = Copy("llama", config =>
        {
            (config["alpha_scale"], config["beta_scale"]) = (2, true);
            (config["gamma"], config["_private"], config["unsloth_version"]) = (false, 3, "2025.1");
        });
        string message = Refused(folder);
        Assert.Contains("alpha_scale is 2, beta_scale is true; expected settings that this library supports in llama", message);
        Assert.Contains("PretrainedLoadOptions.IgnoredKeys", message);
        Assert.DoesNotContain("gamma", message);
        var expected = PretrainedModel.LoadDesign(Path.Combine(ConformanceTests.Folder, "llama"));
        Assert.Equal(expected, PretrainedModel.LoadDesign(folder, new() { IgnoredKeys = ["alpha_scale", "beta_scale"] }));
        Assert.Contains("beta_scale", Refused(folder, new() { IgnoredKeys = ["alpha_scale"] }));
    }

    [Fact]
    public void Settings_of_another_family_are_not_taken_over_when_a_model_is_written()
    {
        using var model = PretrainedModel.Load(Path.Combine(ConformanceTests.Folder, "llama"));
        string source = Copy("bamba", config => (config["eos_token_id"], config["use_long_context"], config["private"]) = (2, true, 5));
        PretrainedModel.Save(model, place["out"], "llama", new() { SettingsFrom = PretrainedConfig.Read(Path.Combine(source, "config.json")) });
        var written = JsonNode.Parse(File.ReadAllText(Path.Combine(place["out"], "config.json")))!.AsObject();
        Assert.Equal(2, (int)written["eos_token_id"]!);
        Assert.DoesNotContain(written, item => item.Key is "mamba_n_groups" or "mamba_d_state" or "private" or "use_long_context");
        Assert.Equal(model.Design.Blocks, PretrainedModel.LoadDesign(place["out"]).Blocks);
    }

    [Fact]
    public void MiniMax_rotates_the_published_part_of_each_head_and_has_the_published_parameters()
    {
        string folder = Write(PublishedSettings.All["MiniMax-Text-01"].Config);
        AttentionSpec Attention(PretrainedLoadOptions? options = null) =>
            PretrainedModel.LoadDesign(folder, options).Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First();
        Assert.Equal((0.5, 1e7), (Attention().Rotary!.Fraction, Attention().Rotary!.Theta));
        Assert.Equal(1, Attention(ConformanceCase.AsRecorded).Rotary!.Fraction);
        var count = PretrainedModel.LoadDesign(folder).CountParameters();
        Assert.Equal((456, 459), ((int)Math.Round(count.Total / 1e9), (int)(count.ActiveNonEmbedding / 1e8)));
        string small = Copy("minimax", config => config["rotary_dim"] = 4, weights: true);
        using var model = PretrainedModel.Load(small);
        PretrainedModel.Save(model, place["rotated"], "minimax");
        Assert.Equal(4, (int)JsonNode.Parse(File.ReadAllText(Path.Combine(place["rotated"], "config.json")))!["rotary_dim"]!);
        using var again = PretrainedModel.Load(place["rotated"]);
        Assert.Equal(model.Design.Blocks, again.Design.Blocks);
        Assert.Contains("rotary_dim is 7; expected 1 to head_dim = 6", Refused(Copy("minimax", config => config["rotary_dim"] = 7)));
        Assert.Contains("shared_intermediate_size is 3; expected 0",
            Refused(Copy("minimax", config => config["shared_intermediate_size"] = 3)));
    }

    [Theory]
    [InlineData("Qwen3.5 27B", 27, 27)]
    [InlineData("Qwen3.5 35B-A3B", 35, 3)]
    [InlineData("Olmo-Hybrid 7B", 7, 7)]
    [InlineData("Kimi-Linear 48B-A3B", 49, 3)]
    [InlineData("LFM2 8B-A1B", 8, 2)]
    public void Parameters_and_those_of_one_token_are_the_billions_that_are_published(string name, int total, int active)
    {
        var count = PretrainedModel.LoadDesign(Write(PublishedSettings.All[name].Config)).CountParameters();
        Assert.Equal((total, active), ((int)Math.Round(count.Total / 1e9), (int)Math.Round(count.Active / 1e9)));
    }

    [Theory]
    [InlineData("{\"rope_theta\":null,\"rope_type\":\"default\"}", null, false)]
    [InlineData(null, "null", false)]
    [InlineData("null", null, true)]
    [InlineData(null, null, true)]
    [InlineData(null, "5000.0", true)]
    [InlineData("{\"rope_theta\":5000.0,\"rope_type\":\"default\"}", "null", true)]
    public void Olmo_Hybrid_has_no_positions_if_the_base_is_null(string? section, string? theta, bool rotates)
    {
        string folder = Copy("olmo_hybrid", config =>
        {
            config.Remove("rope_parameters");
            if (section is not null) config["rope_parameters"] = JsonNode.Parse(section);
            if (theta is not null) config["rope_theta"] = JsonNode.Parse(theta);
        });
        var rotary = PretrainedModel.LoadDesign(folder).Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First().Rotary;
        Assert.Equal(rotates, rotary is not null);
        if (rotates) Assert.Equal(section?.Contains("5000") == true || theta == "5000.0" ? 5000 : 10_000, rotary!.Theta);
    }

    [Fact]
    public void A_window_is_the_stated_one_the_default_of_the_family_or_none()
    {
        int?[] Windows(string name, Action<JsonObject> change) =>
            [.. PretrainedModel.LoadDesign(Copy(name, change)).Blocks.Select(block => ((AttentionSpec)block.Mixer!).Window)];
        Assert.Equal([12, 12, 12], Windows("mistral", _ => { }));
        Assert.Equal([null, null, null], Windows("mistral", config => config["sliding_window"] = null));
        Assert.Equal([4096, 4096, 4096], Windows("mistral", config => config.Remove("sliding_window")));
        Assert.Equal([null, 8], Windows("qwen3", config =>
        {
            config.Remove("layer_types");
            (config["use_sliding_window"], config["sliding_window"], config["max_window_layers"]) = (true, 8, 1);
        }));
        Assert.Equal([11, 11, 11, null], Windows("olmo3", config => config.Remove("layer_types")));
    }

    [Theory]
    [InlineData("rope_parameters", "{\"full_attention\":{\"rope_theta\":5.0},\"chunked_attention\":{}}", "chunked_attention is")]
    [InlineData("rope_parameters", "{\"full_attention\":{\"rope_theta\":5.0}}", "sliding_attention is absent")]
    [InlineData("rope_scaling", "{\"rope_type\":\"linear\",\"factor\":2.0}", "expected no rope_scaling next to rope_parameters by layer type")]
    public void Rotary_settings_by_layer_type_are_complete_and_stated_once(string key, string section, string expected) =>
        Assert.Contains(expected, Refused(Copy("olmo3", config => config[key] = JsonNode.Parse(section))));

    [Theory]
    [InlineData("""{ }""", 2)]
    [InlineData("""{ "num_heads": 2 }""", 2)]
    [InlineData("""{ "expand_ratio": null, "num_heads": 4 }""", 4)]
    [InlineData("""{ "expand_ratio": 32, "num_heads": null }""", 8)]
    public void The_heads_of_hgrn2_follow_from_an_expand_ratio_of_128_unless_it_is_stated(string settings, int expected)
    {
        string folder = Copy("hgrn2", config =>
        {
            foreach (string key in (string[])["attn", "expand_ratio", "num_heads"]) config.Remove(key);
            config["hidden_size"] = 256;
            foreach (var (key, value) in JsonNode.Parse(settings)!.AsObject()) config[key] = value?.DeepClone();
        });
        Assert.Equal(expected, ((Hgrn2Spec)PretrainedModel.LoadDesign(folder).Blocks[0].Mixer!).Heads);
    }

    [Fact]
    public void A_config_of_hgrn2_whose_expand_ratio_and_num_heads_are_null_is_refused() =>
        Assert.Contains("num_heads is absent; expected an integer",
            Refused(Copy("hgrn2", config => config["expand_ratio"] = config["num_heads"] = null)));

    [Theory]
    [InlineData("gla", "use_short_conv", "true", "use_short_conv is true; expected false")]
    [InlineData("gla", "num_kv_heads", "1", "num_kv_heads is 1; expected 3")]
    [InlineData("gla", "attn", "{\"layers\":[3],\"num_heads\":2}", "layers is 3; expected whole numbers from 0 to 2")]
    [InlineData("gla", "attn", "{\"layers\":[1,1],\"num_heads\":2}", "layers is 1; expected whole numbers from 0 to 2, each once")]
    [InlineData("gla", "attn", "{\"layers\":[1],\"num_heads\":5}", "num_heads is 5; expected a divisor of hidden_size = 24")]
    [InlineData("gla", "attn", "[3]", "expected an object or a list of objects")]
    [InlineData("hgrn2", "use_short_conv", "true", "use_short_conv is true; expected false")]
    [InlineData("hgrn2", "expand_ratio", "7", "expand_ratio is 7; expected a divisor of hidden_size = 24")]
    [InlineData("hgrn2", "expand_ratio", "0", "expand_ratio is 0; expected 1 to hidden_size = 24")]
    [InlineData("hgrn2", "num_heads", "4", "num_heads is 4; expected 3")]
    [InlineData("rwkv7", "norm_bias", "false", "norm_bias is false; expected true")]
    [InlineData("rwkv7", "attn", "{\"layers\":[1],\"num_heads\":2}", "because rwkv7 of flash-linear-attention cannot run with attention layers")]
    [InlineData("rwkv7", "head_dim", "7", "head_dim is 7; expected a divisor of hidden_size = 24")]
    [InlineData("rwkv7", "num_heads", "5", "num_heads is 5; expected 4, as hidden_size / head_dim says")]
    [InlineData("rwkv7", "value_dim", "48", "value_dim is 48; expected hidden_size = 24 in every layer")]
    [InlineData("rwkv7", "value_dim", "[24, 48, 24]", "expected hidden_size = 24 in every layer")]
    [InlineData("rwkv7", "hidden_act", "\"tanh\"", "hidden_act is tanh; expected one of sqrelu, relu, silu, swish, gelu")]
    [InlineData("delta_net", "qk_norm", "\"sum\"", "qk_norm is \"sum\"; expected \"l2\"")]
    [InlineData("delta_net", "expand_k", "0.7", "expand_k is 0.7; expected a factor of the width 24")]
    [InlineData("gated_deltanet", "use_short_conv", "false", "use_short_conv is false; expected true")]
    [InlineData("gated_deltanet", "attnres_block_size", "4", "attnres_block_size is 4")]
    [InlineData("mamba3", "is_mimo", "true", "is_mimo is true; expected false")]
    [InlineData("mamba2", "attn", "{\"layers\":[1],\"num_heads\":2}", "because mamba2 of flash-linear-attention has no attention layers")]
    [InlineData("mamba", "attn", "{\"layers\":[1],\"num_heads\":2}", "because mamba of flash-linear-attention has no attention layers")]
    public void What_of_flash_linear_attention_is_not_supported_is_refused_by_name(string family, string key, string value, string expected) =>
        Assert.Contains(expected, Refused(Copy(family, config => config[key] = JsonNode.Parse(value))));

    [Fact]
    public void Vision_and_prediction_tensors_are_not_loaded_with_a_note()
    {
        var notes = new List<string>();
        using var model = PretrainedModel.Load(Path.Combine(ConformanceTests.Folder, "qwen3_5_full"),
            options: new() { Notes = new Listed(notes) });
        Assert.Equal(2, notes.Count);
        Assert.Contains("tensors of multi-token prediction (mtp.*) are not loaded: mtp.fc.weight, mtp.layers.0.", notes[0]);
        Assert.Contains("21 tensors of the vision model (model.visual.*) are not loaded: model.visual.", notes[1]);
        PretrainedModel.Save(model, place["whole"], "qwen3_5", new()
        {
            SettingsFrom = PretrainedConfig.Read(Path.Combine(ConformanceTests.Folder, "qwen3_5_full", "config.json")),
        });
        Assert.DoesNotContain("mtp_", File.ReadAllText(Path.Combine(place["whole"], "config.json")));
        PretrainedModel.Save(model, place["text"], "qwen3_5_text");
        notes.Clear();
        using var text = PretrainedModel.Load(place["text"], options: new() { Notes = new Listed(notes) });
        Assert.Empty(notes);
        Assert.Equal(model.Design.Blocks, text.Design.Blocks);
    }

    [Theory]
    [InlineData("qwen3_next", "model_type is qwen3_next. The tensors of heads in")]
    [InlineData("qwen3_5", "it has none")]
    public void Heads_of_multi_token_prediction_that_are_needed_are_refused_by_name(string family, string expected)
    {
        string folder = Path.Combine(ConformanceTests.Folder, family);
        string message = Assert.Throws<NotSupportedException>(() =>
            PretrainedModel.Load(folder, options: new() { MultiTokenPrediction = true })).Message;
        Assert.Contains("options.MultiTokenPrediction is true; expected false", message);
        Assert.Contains(expected, message);
    }

    [Fact]
    public void Heads_of_multi_token_prediction_that_are_needed_and_can_be_loaded_are_not_noted()
    {
        string folder = Path.Combine(ConformanceTests.Folder, "qwen3_5_full");
        var notes = new List<string>();
        using var model = PretrainedModel.Load(folder, options: new() { MultiTokenPrediction = true, Notes = new Listed(notes) });
        Assert.Contains("the vision model", Assert.Single(notes));
        Assert.True(PretrainedModel.HasPredictionHead(folder));
        Assert.False(PretrainedModel.HasPredictionHead(Path.Combine(ConformanceTests.Folder, "qwen3_5")));
        Assert.False(PretrainedModel.HasPredictionHead(Path.Combine(ConformanceTests.Folder, "llama")));
    }

    [Theory]
    [InlineData("\"mtp_num_hidden_layers\": 1", "\"mtp_num_hidden_layers\": 2", "mtp_num_hidden_layers is 2; expected 1")]
    [InlineData("\"mtp_use_dedicated_embeddings\": false", "\"mtp_use_dedicated_embeddings\": true", "mtp_use_dedicated_embeddings is true")]
    public void Heads_of_multi_token_prediction_with_settings_that_are_not_supported_are_refused_by_name(string from, string to, string expected)
    {
        using var place = new TemporaryFolder();
        string source = Path.Combine(ConformanceTests.Folder, "qwen3_5_full"), folder = place["changed"];
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.GetFiles(source)) File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        string config = Path.Combine(folder, "config.json"), text = File.ReadAllText(config);
        Assert.Contains(from, text);
        File.WriteAllText(config, text.Replace(from, to));
        string message = Assert.Throws<NotSupportedException>(() =>
            PretrainedModel.Load(folder, options: new() { MultiTokenPrediction = true })).Message;
        Assert.Contains(expected, message);
        Assert.Contains("mtp.fc.weight", message);
        PretrainedModel.Load(folder).Dispose();
    }

    sealed class Listed(List<string> notes) : IProgress<string>
    {
        public void Report(string value) => notes.Add(value);
    }

    public static TheoryData<string> Published => [.. PublishedSettings.All.Keys];

    [Theory, MemberData(nameof(Published))]
    public void The_settings_of_published_checkpoints_are_known(string name)
    {
        var (config, parameters) = PublishedSettings.All[name];
        var design = PretrainedModel.LoadDesign(Write(config));
        if (parameters is not null) Assert.Equal(parameters, design.CountParameters().Total);
        Assert.Equal(design.CountParameters(), PretrainedModel.LoadDesign(Write(config), ConformanceCase.AsRecorded).CountParameters());
    }
}
