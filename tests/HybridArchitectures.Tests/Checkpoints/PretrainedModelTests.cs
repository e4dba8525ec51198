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

/// <summary>Tests how the settings of a checkpoint are read and written back.</summary>
public sealed class PretrainedModelTests : PretrainedFolderTests
{
    [Fact]
    public void Numbers_with_a_fraction_are_written_with_one_and_integers_without()
    {
        // the reference refuses 0 where it wants 0.0, and 2.0 where it wants 2
        using var model = PretrainedModel.Load(Copy("bamba"));
        PretrainedModel.Save(model, folders["out"], "bamba");
        string written = File.ReadAllText(Path.Combine(folders["out"], "config.json"));
        Assert.Contains("\"z_loss_coefficient\": 0.0", written);
        Assert.Contains("\"rope_theta\": 10000.0", written);
        Assert.Contains("\"mamba_expand\": 2,", written);
        using var falcon = PretrainedModel.Load(Copy("falcon_h1_nonorm"));
        PretrainedModel.Save(falcon, folders["falcon"], "falcon_h1");
        Assert.Contains("\"mamba_expand\": 1,", File.ReadAllText(Path.Combine(folders["falcon"], "config.json")));
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
        PretrainedModel.Save(model, folders["out"], "bamba");
        Assert.Equal(3, PretrainedModel.LoadDesign(folders["out"]).PaddingId);
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
        PretrainedModel.Save(model, folders["out"], "bamba");
        Assert.Equal((0.25, true), (PretrainedModel.LoadDesign(folders["out"]).HeadZLoss,
            PretrainedModel.LoadDesign(folders["out"]).HeadZLossEverywhere));
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
        PretrainedModel.Save(model, folders["out"], family);
        Assert.Equal(model.Design, PretrainedModel.LoadDesign(folders["out"]) with { Name = model.Design.Name, PaddingId = model.Design.PaddingId });
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
        PretrainedModel.Save(model, folders["out"], "zamba2", new() { SettingsFrom = PretrainedConfig.Read(Path.Combine(folder, "config.json")) });
        Assert.Equal(theta, PretrainedModel.LoadDesign(folders["out"]).SharedTransformers[0].Attention.Rotary!.Theta, 6);
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
    public void The_minimum_time_step_of_transformers_is_read_on_request_clamps_and_is_written_back(string name, string written, double? minimum)
    {
        string folder = Copy(name), family = PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType;
        Tensor before;
        using (var unclamped = PretrainedModel.Load(folder)) before = Logits(unclamped);
        Change(folder, "config.json", config => config["time_step_min"] = JsonNode.Parse(written));
        using (var trained = PretrainedModel.Load(folder)) Assert.Equal(0, (Logits(trained) - before).abs().max().item<float>());
        using var model = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
        Assert.Equal(minimum, model.Design.Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>().First().TimeStepLimit?.Minimum);
        Assert.Equal(minimum is > 0.01, (Logits(model) - before).abs().max().item<float>() > 1e-4);
        PretrainedModel.Save(model, folders["out"], family);
        Assert.Equal(model.Design, PretrainedModel.LoadDesign(folders["out"]) with { Name = model.Design.Name });
    }

    [Fact]
    public void An_unknown_family_is_refused_with_the_known_ones()
    {
        string folder = Copy("llama");
        Change(folder, "config.json", config => config["model_type"] = "gpt9");
        Assert.Contains("\"gpt9\"; expected one of bamba, delta_net, falcon_h1, falcon_mamba, gated_deltanet, gla, granitemoehybrid, hgrn2, jamba, "
            + "kimi_linear, lfm2, lfm2_moe, llama", Refused(folder));
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
}
