using System.Text.Json.Nodes;
using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Adapters;

public sealed class PeftAdaptersTests : IDisposable
{
    const string Config = "adapter_config.json", Weights = "adapter_model.safetensors";

    readonly DisposeScope scope = NewDisposeScope();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    static string Case(string name) => Path.Combine(ConformanceTests.Folder, name);

    static HybridLanguageModel Base(string name) => PretrainedModel.Load(Case(name));

    static string Family(string name) => PretrainedConfig.Read(Path.Combine(Case(name), "config.json")).ModelType;

    static Tensor Forward(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        manual_seed(3);
        return model.Forward(randint(model.VocabularySize, [2, 9], ScalarType.Int64));
    }

    static void Close(Tensor expected, Tensor actual, double tolerance = 1e-5)
    {
        double error = (expected - actual).abs().max().item<float>(), scale = expected.abs().max().item<float>();
        Assert.True(error <= tolerance * scale, $"differs by {error:g3} of {scale:g3}");
    }

    // a folder as PEFT writes it: each module with its rank
    string Write(JsonObject settings, params (string Module, long Inputs, long Outputs, int Rank)[] modules)
    {
        manual_seed(11);
        var tensors = new Dictionary<string, Tensor>();
        foreach (var (module, inputs, outputs, rank) in modules)
        {
            tensors[$"base_model.model.{module}.lora_A.weight"] = randn(rank, inputs) * 0.1;
            tensors[$"base_model.model.{module}.lora_B.weight"] = randn(outputs, rank) * 0.1;
        }
        return Write(settings, tensors);
    }

    string Write(JsonObject settings, Dictionary<string, Tensor> tensors)
    {
        string path = folder[$"peft-{Guid.NewGuid():N}"];
        Directory.CreateDirectory(path);
        settings["peft_type"] ??= "LORA";
        File.WriteAllText(Path.Combine(path, Config), settings.ToJsonString());
        SafetensorsFile.Write(Path.Combine(path, Weights), tensors);
        return path;
    }

    // the model with scale B A added to one of its weights by hand
    static void Add(HybridLanguageModel model, string weight, string path, string module, double scale, long first = 0)
    {
        using var noGrad = no_grad();
        using var file = SafetensorsFile.Open(Path.Combine(path, Weights));
        var update = file.Read($"base_model.model.{module}.lora_B.weight").mm(file.Read($"base_model.model.{module}.lora_A.weight")) * scale;
        var target = model.State[weight];
        target.add_(update.narrow(0, first, target.size(0)));
    }

    [Fact]
    public void Adapters_of_PEFT_compute_what_their_matrices_say_added_to_the_weights()
    {
        using var model = Base("llama");
        var design = model.Design;
        var (width, hidden) = (design.Width, ((HybridArchitectures.Design.SwiGluSpec)design.Blocks[1].FeedForward).Width);
        var attention = (HybridArchitectures.Design.AttentionSpec)design.Blocks[0].Mixer!;
        string path = Write(new() { ["r"] = 4, ["lora_alpha"] = 6, ["lora_dropout"] = 0.25,
            ["target_modules"] = new JsonArray("q_proj", "v_proj", "down_proj"), ["task_type"] = "CAUSAL_LM" },
            ("model.layers.0.self_attn.q_proj", width, attention.QueryWidth, 4), ("model.layers.1.self_attn.v_proj", width, attention.ValueWidth, 4),
            ("model.layers.1.mlp.down_proj", hidden, width, 4));
        using var adapters = PeftAdapters.Load(model, path, "llama");
        Assert.Equal((4, 6.0, 0.25), (adapters.Options.Rank, adapters.Options.Alpha, adapters.Options.Dropout));
        Assert.Equal(["stack.blocks.0.mixer.query.weight", "stack.blocks.1.feed_forward.down.weight", "stack.blocks.1.mixer.value.weight"],
            adapters.Weights.Order());

        using var merged = Base("llama");
        var plain = Forward(merged);
        Add(merged, "stack.blocks.0.mixer.query.weight", path, "model.layers.0.self_attn.q_proj", 1.5);
        Add(merged, "stack.blocks.1.mixer.value.weight", path, "model.layers.1.self_attn.v_proj", 1.5);
        Add(merged, "stack.blocks.1.feed_forward.down.weight", path, "model.layers.1.mlp.down_proj", 1.5);
        model.eval();
        Close(Forward(merged), Forward(model));
        Assert.True((plain - Forward(merged)).abs().max().item<float>() > 1e-3);
        adapters.Merge();
        Close(Forward(merged), Forward(model));
    }

    [Fact]
    public void Patterns_and_rank_stabilised_scaling_give_each_module_its_rank_and_scale()
    {
        using var model = Base("llama");
        var attention = (HybridArchitectures.Design.AttentionSpec)model.Design.Blocks[0].Mixer!;
        int width = model.Design.Width;
        string path = Write(new()
        {
            ["r"] = 4, ["lora_alpha"] = 6, ["use_rslora"] = true, ["target_modules"] = @".*\.(q|o)_proj",
            ["rank_pattern"] = new JsonObject { ["layers.1.self_attn.q_proj"] = 9, [@"^model\.layers\.\d\.self_attn\.o_proj"] = 2 },
            ["alpha_pattern"] = new JsonObject { ["o_proj"] = 5.5 },
        }, ("model.layers.0.self_attn.q_proj", width, attention.QueryWidth, 4), ("model.layers.1.self_attn.q_proj", width, attention.QueryWidth, 9),
            ("model.layers.1.self_attn.o_proj", attention.OutputWidth, width, 2));
        using var adapters = PeftAdapters.Load(model, path, "llama");
        model.eval();
        using var merged = Base("llama");
        Add(merged, "stack.blocks.0.mixer.query.weight", path, "model.layers.0.self_attn.q_proj", 6 / 2.0);
        Add(merged, "stack.blocks.1.mixer.query.weight", path, "model.layers.1.self_attn.q_proj", 6 / 3.0);
        Add(merged, "stack.blocks.1.mixer.output.weight", path, "model.layers.1.self_attn.o_proj", 5.5 / Math.Sqrt(2));
        var expected = Forward(merged);
        Close(expected, Forward(model));

        // through both kinds of file
        adapters.Save(folder["own.safetensors"]);
        PeftAdapters.Save(adapters, folder["again"], "llama", "a/model");
        foreach (bool peft in new[] { false, true })
        {
            using var other = Base("llama");
            using var loaded = peft ? PeftAdapters.Load(other, folder["again"], "llama") : LoraAdapters.Load(other, folder["own.safetensors"]);
            other.eval();
            Close(expected, Forward(other), 1e-6);
        }
        var written = JsonNode.Parse(File.ReadAllText(Path.Combine(folder["again"], Config)))!;
        Assert.Equal((4, "a/model", false), ((int)written["r"]!, (string)written["base_model_name_or_path"]!, (bool)written["use_rslora"]!));
        Assert.Equal(9, (int)written["rank_pattern"]!["model.layers.1.self_attn.q_proj"]!);
        Assert.Equal(6 / 3.0 * 9, (double)written["alpha_pattern"]!["model.layers.1.self_attn.q_proj"]!, 12);
    }

    [Fact]
    public void A_layer_that_the_family_fuses_is_split_and_joined_exactly()
    {
        using var model = Base("granite_dense");
        int width = model.Design.Width, hidden = ((HybridArchitectures.Design.SwiGluSpec)model.Design.Blocks[0].FeedForward).Width;
        const string module = "model.layers.0.shared_mlp.input_linear", family = "granitemoehybrid";
        string path = Write(new() { ["r"] = 3, ["lora_alpha"] = 6, ["target_modules"] = new JsonArray("input_linear") },
            (module, width, 2 * hidden, 3));
        using var merged = Base("granite_dense");
        Add(merged, "stack.blocks.0.feed_forward.gate.weight", path, module, 2);
        Add(merged, "stack.blocks.0.feed_forward.up.weight", path, module, 2, first: hidden);
        using (var adapters = PeftAdapters.Load(model, path, family))
        {
            model.eval();
            Close(Forward(merged), Forward(model));
            // both have one matrix from the inputs: it stays one
            PeftAdapters.Save(adapters, folder["split"], family);
            using var file = SafetensorsFile.Open(Path.Combine(folder["split"], Weights));
            Assert.Equal([3L, width], file[$"base_model.model.{module}.lora_A.weight"].Shape);
        }
        // trained here, the two differ: ranks add up, with zeros between
        using var own = Base("granite_dense");
        using var trained = LoraAdapters.Attach(
            own, new() { Rank = 3, Alpha = 6, Only = name => name.StartsWith("stack.blocks.0.feed_forward.", StringComparison.Ordinal) });
        Shake(own);
        own.eval();
        PeftAdapters.Save(trained, folder["joined"], family);
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder["joined"], Config)))!;
        Assert.Equal((6, 12.0), ((int)config["rank_pattern"]![module]!, (double)config["alpha_pattern"]![module]!));
        Assert.Equal([module, "model.layers.0.shared_mlp.output_linear"], config["target_modules"]!.AsArray().Select(name => (string)name!));
        using var again = Base("granite_dense");
        using var loaded = PeftAdapters.Load(again, folder["joined"], family);
        again.eval();
        Close(Forward(own), Forward(again));
    }

    static void Shake(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        manual_seed(8);
        foreach (var parameter in model.Parameters) parameter.Value.add_(randn_like(parameter.Value) * 0.1);
    }

    [Theory]
    [InlineData("llama")]
    [InlineData("mamba")]
    [InlineData("falcon_mamba")]
    [InlineData("mamba2")]
    [InlineData("bamba")]
    [InlineData("jamba")]
    [InlineData("granite_dense")]
    [InlineData("falcon_h1_norm_before")]
    [InlineData("nemotron_h_moe")]
    [InlineData("lfm2")]
    [InlineData("zamba2")]
    [InlineData("qwen3_next")]
    public void Adapters_saved_for_PEFT_are_restored_for_every_family(string name)
    {
        using var model = Base(name);
        var targets = LoraTargets.All & ~(model.Design.TiedHead ? LoraTargets.Head : LoraTargets.None);
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 2, Alpha = 3, Targets = targets });
        Shake(model);
        model.eval();
        PeftAdapters.Save(adapters, folder["saved"], Family(name));
        using var other = Base(name);
        using var loaded = PeftAdapters.Load(other, folder["saved"], Family(name));
        other.eval();
        Assert.Equal(adapters.Weights.Order(), loaded.Weights.Order());
        Close(Forward(model), Forward(other));
    }

    [Fact]
    public void Targets_are_the_shortest_names_that_select_no_other_layer()
    {
        using var model = Base("llama");
        using var adapters = LoraAdapters.Attach(model, new() { Targets = LoraTargets.Attention });
        PeftAdapters.Save(adapters, folder["all"], "llama");
        Assert.Equal("""["k_proj","o_proj","q_proj","v_proj"]""",
            JsonNode.Parse(File.ReadAllText(Path.Combine(folder["all"], Config)))!["target_modules"]!.ToJsonString());
        adapters.Detach();
        using var one = LoraAdapters.Attach(model, new() { Only = name => name == "stack.blocks.1.mixer.query.weight" });
        PeftAdapters.Save(one, folder["one"], "llama");
        Assert.Equal("""["model.layers.1.self_attn.q_proj"]""",
            JsonNode.Parse(File.ReadAllText(Path.Combine(folder["one"], Config)))!["target_modules"]!.ToJsonString());
    }

    [Fact]
    public void Experts_in_one_tensor_that_PEFT_cannot_adapt_are_refused_by_name()
    {
        using var model = Base("granite_moe");
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 2 });
        var refusal = Assert.Throws<ArgumentException>("adapters", () => PeftAdapters.Save(adapters, folder["saved"], "granitemoehybrid"));
        Assert.Contains("feed_forward.gate", refusal.Message);
        Assert.False(Directory.Exists(folder["saved"]));
    }

    [Theory]
    [InlineData("""{"use_dora": true}""", "use_dora is true; expected none or false: weight-decomposed adapters (DoRA) cannot be read")]
    [InlineData("""{"peft_type": "IA3"}""", "peft_type is \"IA3\"; expected \"LORA\"")]
    [InlineData("""{"bias": "lora_only"}""", "bias is \"lora_only\"; expected \"none\"")]
    [InlineData("""{"modules_to_save": ["lm_head"]}""",
        "modules_to_save is [\"lm_head\"]; expected none or false: modules trained as a whole cannot be read")]
    [InlineData("""{"init_lora_weights": "pissa_niter_4"}""", "init_lora_weights is \"pissa_niter_4\"; expected true, false or one of gaussian")]
    [InlineData("""{"fan_in_fan_out": true}""", "fan_in_fan_out is true; expected none or false")]
    [InlineData("""{"target_parameters": ["experts.gate_up_proj"]}""", "target_parameters is [\"experts.gate_up_proj\"]; expected none or false")]
    [InlineData("""{"something_new": 3}""", "something_new is 3; expected none or false: this setting cannot be read")]
    [InlineData("""{"task_type": "SEQ_CLS"}""", "task_type is \"SEQ_CLS\"; expected \"CAUSAL_LM\"")]
    [InlineData("""{"r": 2.5}""", "r is 2.5; expected a whole number from 1")]
    [InlineData("""{"lora_dropout": 1}""", "lora_dropout is 1; expected a number from 0 to below 1")]
    [InlineData("""{"lora_alpha": "16"}""", "lora_alpha is \"16\"; expected a number")]
    [InlineData("""{"rank_pattern": {"(": 2}}""", "the pattern \"(\" cannot be matched")]
    [InlineData("""{"target_modules": ["k_proj"]}""", "expected modules that target_modules of adapter_config.json selects")]
    [InlineData("""{"exclude_modules": ["q_proj"]}""", "expected modules that target_modules of adapter_config.json selects")]
    [InlineData("""{"r": 5}""", "for the rank 5 of adapter_config.json")]
    public void Settings_that_are_not_plain_LoRA_are_refused_by_name(string settings, string message)
    {
        using var model = Base("llama");
        var attention = (HybridArchitectures.Design.AttentionSpec)model.Design.Blocks[0].Mixer!;
        var config = new JsonObject { ["r"] = 4, ["use_dora"] = false, ["use_qalora"] = false, ["megatron_core"] = "megatron.core",
            ["loftq_config"] = new JsonObject(), ["modules_to_save"] = null };
        foreach (var (key, value) in JsonNode.Parse(settings)!.AsObject()) config[key] = value?.DeepClone();
        string path = Write(config, ("model.layers.0.self_attn.q_proj", model.Design.Width, attention.QueryWidth, 4));
        string said = Assert.Throws<InvalidDataException>(() => PeftAdapters.Load(model, path, "llama")).Message;
        Assert.Contains(message, said);
        Assert.Contains(path, said);
        Assert.Null(model.Adapters());
        Assert.All(model.AllParameters(), item => Assert.True(item.Value.requires_grad));
    }

    [Theory]
    [InlineData("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "(DoRA) are not supported")]
    [InlineData("base_model.model.model.embed_tokens.lora_embedding_A", "adapters on embeddings are not supported")]
    [InlineData("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", "expected names like base_model.model.MODULE.lora_A.weight")]
    [InlineData("model.layers.0.self_attn.q_proj.lora_A.weight", "expected names like base_model.model.MODULE.lora_A.weight")]
    [InlineData("base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight", "expected linear layers of the model's family")]
    [InlineData("base_model.model.model.layers.0.input_layernorm.lora_A.weight", "expected linear layers of the model's family")]
    [InlineData("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", "expected both lora_A and lora_B of a module")]
    public void Tensors_that_are_no_adapter_of_the_model_are_refused_by_name(string tensor, string message)
    {
        using var model = Base("llama");
        var attention = (HybridArchitectures.Design.AttentionSpec)model.Design.Blocks[0].Mixer!;
        string path = Write(new() { ["r"] = 4 }, new Dictionary<string, Tensor>
        {
            ["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"] = zeros(4, model.Design.Width),
            ["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"] = zeros(attention.QueryWidth, 4),
            [tensor] = zeros(4, model.Design.Width),
        });
        string said = Assert.Throws<InvalidDataException>(() => PeftAdapters.Load(model, path, "llama")).Message;
        Assert.Contains(message, said);
        Assert.Contains(tensor, said);
        Assert.Null(model.Adapters());
    }

    [Fact]
    public void Folders_and_models_that_do_not_fit_are_refused()
    {
        using var model = Base("llama");
        Assert.Throws<DirectoryNotFoundException>(() => PeftAdapters.Load(model, folder["none"], "llama"));
        Directory.CreateDirectory(folder["empty"]);
        Assert.Contains("adapter_config.json",
            Assert.Throws<FileNotFoundException>(() => PeftAdapters.Load(model, folder["empty"], "llama")).Message);
        File.WriteAllText(Path.Combine(folder["empty"], Config), """{"peft_type": "LORA"}""");
        File.WriteAllText(Path.Combine(folder["empty"], "adapter_model.bin"), "");
        Assert.Contains("pickle", Assert.Throws<FileNotFoundException>(() => PeftAdapters.Load(model, folder["empty"], "llama")).Message);
        File.WriteAllText(Path.Combine(folder["empty"], Config), "[]");
        Assert.Contains("expected an object", Assert.Throws<InvalidDataException>(() => PeftAdapters.Load(model, folder["empty"], "llama")).Message);
        // half a surrogate pair, in a value, a name and a list that is read later
        string[] half = ["""{"peft_type": "\ud800"}""", """{"\ud800": 1}""", """{"peft_type": "LORA", "target_modules": ["\ud800"]}"""];
        foreach (string json in half)
        {
            File.WriteAllText(Path.Combine(folder["empty"], Config), json);
            string said = Assert.Throws<InvalidDataException>(() => PeftAdapters.Load(model, folder["empty"], "llama")).Message;
            Assert.Contains($"{Config}: not JSON", said);
        }
        Assert.Throws<ArgumentException>("modelType", () => PeftAdapters.Load(model, folder["empty"], "gpt2"));
        Assert.Throws<ArgumentException>("design", () => PeftAdapters.Load(model, folder["empty"], "mamba"));
    }
}
