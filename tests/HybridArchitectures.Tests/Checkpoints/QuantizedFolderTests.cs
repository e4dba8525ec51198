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

/// <summary>Tests quantised folders, and tensors that are not needed.</summary>
public sealed class QuantizedFolderTests : ChangedCaseTests
{
    [Theory]
    [InlineData("quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4}", "quantised by gptq")]
    [InlineData("quantization_config", "{\"load_in_4bit\":true}", "quantised")]
    [InlineData("quantization_config", "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}", "quantised by fp8")]
    [InlineData("quantization_config", "{\"quant_method\":\"awq\",\"bits\":4}", "quantised by awq")]
    [InlineData("quantization_config", "{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}", "quantised by bitsandbytes")]
    [InlineData("quantization_config", "{\"quant_method\":\"mxfp4\"}", "quantised by mxfp4")]
    [InlineData("quantization", "{\"bits\":4,\"group_size\":64}", "quantised")]
    public void A_quantised_configuration_is_called_quantised(string key, string value, string expected)
    {
        string folder = Copy("llama", config => config[key] = JsonNode.Parse(value), weights: true);
        string message = Refused(folder);
        Assert.Contains($"{key} is {value}; expected weights in float32, bfloat16 or float16", message);
        Assert.Contains(expected, message);
        Assert.Equal(message, RefusedToLoad(folder));
        Assert.True(CheckpointDiff.Compare(folder, folder).AreEqual);       // its tensors can still be compared
        Copy("llama", config => config[key] = null, weights: true);
        PretrainedModel.Load(folder).Dispose();
    }

    [Theory]
    [InlineData("model.layers.0.mlp.up_proj.qweight", ScalarType.Int32)]
    [InlineData("model.layers.0.mlp.up_proj.weight_packed", ScalarType.Int32)]
    [InlineData("model.layers.0.mlp.up_proj.weight", ScalarType.Int8)]
    [InlineData("model.layers.0.mlp.up_proj.weight_scale_inv", ScalarType.Float32)]
    [InlineData("model.layers.0.mlp.up_proj.qzeros", ScalarType.Int32)]
    [InlineData("model.layers.0.mlp.up_proj.weight.absmax", ScalarType.Float32)]
    [InlineData("model.layers.0.mlp.experts.gate_up_proj_blocks", ScalarType.Byte)]
    [InlineData("model.layers.0.mlp.experts.down_proj_scales", ScalarType.Byte)]
    public void A_folder_of_quantised_tensors_is_called_quantised(string tensor, ScalarType type)
    {
        string folder = Copy("llama", _ => { });
        using (var file = SafetensorsFile.Open(Path.Combine(ConformanceTests.Folder, "llama", "model.safetensors")))
        {
            var tensors = file.Entries.ToDictionary(entry => entry.Name, entry => file.Read(entry.Name));
            tensors[tensor] = zeros([8, 8], type);
            SafetensorsFile.Write(Path.Combine(folder, "model.safetensors"), tensors);
        }
        string message = RefusedToLoad(folder);
        Assert.Contains("this checkpoint is quantised", message);
        Assert.Contains(tensor, message);
    }

    [Fact]
    public void A_folder_with_the_file_of_a_quantiser_and_a_file_of_8_bits_are_called_quantised()
    {
        string folder = Copy("llama", _ => { }, weights: true);
        File.WriteAllText(Path.Combine(folder, "hf_quant_config.json"), "{}");
        Assert.Contains("quantised (hf_quant_config.json says so)", RefusedToLoad(folder));
        File.Delete(Path.Combine(folder, "hf_quant_config.json"));
        const string header = """{"model.norm.weight":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}""";
        byte[] bytes = [.. BitConverter.GetBytes((long)header.Length), .. System.Text.Encoding.UTF8.GetBytes(header), 0, 0, 0, 0];
        File.WriteAllBytes(Path.Combine(folder, "model.safetensors"), bytes);
        Assert.Contains("This file is quantised", RefusedToLoad(folder));
    }

    [Theory]
    [InlineData("nemotron_h_moe")]
    [InlineData("qwen3_next")]
    public void An_index_may_name_tensors_that_are_not_needed_in_files_that_are_absent(string name)
    {
        string folder = place["shards"];
        using var model = PretrainedModel.Load(Path.Combine(ConformanceTests.Folder, name));
        PretrainedModel.Save(model, folder, model.Design.Name!, new() { ShardBytes = 40_000 });
        string path = Path.Combine(folder, "model.safetensors.index.json");
        var index = JsonNode.Parse(File.ReadAllText(path))!;
        string present = (string)index["weight_map"]!.AsObject().First().Value!;
        index["weight_map"]!["mtp.layers.0.mixer.weight"] = "model-00099-of-00099.safetensors";
        index["weight_map"]!["mtp.layers.1.mixer.weight"] = present;         // which does not hold it
        index["weight_map"]!["mtp.layers.2.mixer.weight"] = "mtp/heads.safetensors";
        File.WriteAllText(path, index.ToJsonString());
        using var again = PretrainedModel.Load(folder);
        Assert.All(model.State, item => Assert.True(item.Value.equal(again.State[item.Key]).all().item<bool>()));
        Assert.True(CheckpointDiff.Compare(folder, folder).AreEqual);
        // one that is needed is still asked for
        index["weight_map"]!["lm_head.weight"] = "model-00099-of-00099.safetensors";
        File.WriteAllText(path, index.ToJsonString());
        Assert.Contains("'model-00099-of-00099.safetensors' does not exist", RefusedToLoad(folder));
    }

    [Fact]
    public void A_damaged_file_of_tensors_that_are_not_needed_refuses_nothing_and_a_tied_head_may_be_absent()
    {
        string folder = place["tied"];
        using var model = PretrainedModel.Load(Path.Combine(ConformanceTests.Folder, "llama"));
        PretrainedModel.Save(model, folder, "llama", new() { ShardBytes = 20_000 });
        string path = Path.Combine(folder, "model.safetensors.index.json");
        var index = JsonNode.Parse(File.ReadAllText(path))!;
        index["weight_map"]!["lm_head.weight"] = "model-00098-of-00099.safetensors";
        index["weight_map"]!["model.layers.0.self_attn.rotary_emb.inv_freq"] = "rotary.safetensors";
        File.WriteAllText(path, index.ToJsonString());
        File.WriteAllText(Path.Combine(folder, "rotary.safetensors"), "damaged");
        using var again = PretrainedModel.Load(folder);
        Assert.True(again.Design.TiedHead);
    }

    [Theory]
    [InlineData("meta-llama/Llama-3.2-1B", "hf download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B")]
    [InlineData("state-spaces/mamba-130m-hf", "hf download state-spaces/mamba-130m-hf --local-dir mamba-130m-hf")]
    public void A_name_on_the_hub_is_distinguished_from_a_folder(string name, string command)
    {
        Action[] loads =
        [
            () => PretrainedModel.Load(name), () => PretrainedModel.LoadDesign(name), () => Checkpoint.Load(name), () => Checkpoint.LoadDesign(name),
        ];
        foreach (var load in loads)
        {
            string message = Assert.Throws<DirectoryNotFoundException>(load).Message;
            Assert.Contains($"folder is '{name}', which does not exist; expected a local folder", message);
            Assert.Contains(command, message);
        }
        Assert.Contains(command, Assert.Throws<FileNotFoundException>(() => CheckpointDiff.Compare(name, name)).Message);
        Action[] tokenizers =
        [
            () => Tokenizer.Load(name), () => Llama3Tokenizer.Load(name), () => BytePairTokenizer.Load(name),
            () => ChatTemplate.FromFolder(name, new ByteTokenizer()),
        ];
        foreach (var load in tokenizers) Assert.Contains(command, Assert.Throws<FileNotFoundException>(load).Message);
        Assert.Contains(command, Assert.Throws<DirectoryNotFoundException>(() => Tokenizer.ReadStopTokens(name)).Message);
        using var model = PretrainedModel.Load(Path.Combine(ConformanceTests.Folder, "llama"));
        Assert.Contains(command, Assert.Throws<DirectoryNotFoundException>(() => PeftAdapters.Load(model, name, "llama")).Message);
        Assert.DoesNotContain("Hub", Assert.Throws<DirectoryNotFoundException>(() => PretrainedModel.Load(place["nowhere"])).Message);
    }
}
