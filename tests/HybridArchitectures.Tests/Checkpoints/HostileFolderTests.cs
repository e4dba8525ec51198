using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using HybridArchitectures.Adapters;
using HybridArchitectures.Chat;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>
/// Tests folders that are made to break a loader. Each loads, or ends in an exception that names the file, with little time and memory.
/// </summary>
public sealed class HostileFolderTests : IDisposable
{
    const long MaxMemory = 500L << 20;

    // a limit for what would never end, such as a reader that waits for the writer of a pipe
    static readonly TimeSpan maxTime = TimeSpan.FromMinutes(10);

    readonly TemporaryFolder place = new();

    public void Dispose() => place.Dispose();

    /// <summary>Gets one case of every family.</summary>
    public static TheoryData<string> Families => [.. ConformanceRunner.Find(ConformanceTests.Folder).Where(ConformanceCase.Is)
        .GroupBy(path => PretrainedConfig.Read(Path.Combine(path, "config.json")).ModelType).Select(group => Path.GetFileName(group.First()))];

    static readonly string[] numbers = ["0", "-1", "1", "1048576", "2147483647", "1e308", "\"many\"", "[]"];
    static readonly string[] texts = ["\"\"", "\"\\u0000\"", "7"];
    static readonly string[] flags = ["3", "\"yes\""];
    static readonly string[] lists =
        ["[]", "[1000000000]", "[-1]", "[\"x\"]", "{}", $"[{string.Join(",", Enumerable.Repeat("\"linear_attention\"", 5000))}]"];
    static readonly string[] objects =
        ["[]", "{}", "{\"rope_type\":\"default\",\"rope_theta\":0}", "{\"rope_type\":\"llama3\",\"factor\":-1}", "{\"partial_rotary_factor\":1e9}"];

    static IEnumerable<string> Others(JsonNode? value) => value switch
    {
        JsonArray => lists,
        JsonObject => objects,
        JsonValue one => one.GetValueKind() switch
        {
            System.Text.Json.JsonValueKind.Number => numbers,
            System.Text.Json.JsonValueKind.String => texts,
            _ => flags,
        },
        _ => ["0"],
    };

    [Theory, MemberData(nameof(Families))]
    public void Any_setting_of_any_kind_and_size_is_read_or_refused_by_name(string name)
    {
        string source = Path.Combine(ConformanceTests.Folder, name), folder = place[name];
        Directory.CreateDirectory(folder);
        File.Copy(Path.Combine(source, "model.safetensors"), Path.Combine(folder, "model.safetensors"));
        string written = File.ReadAllText(Path.Combine(source, "config.json"));
        long before = Process.GetCurrentProcess().PeakWorkingSet64;
        int refused = 0;
        // the settings of multimodal folders are in a section
        static JsonObject Settings(JsonObject config, bool nested) => nested ? config["text_config"]!.AsObject() : config;
        bool isNested = JsonNode.Parse(written)!.AsObject().ContainsKey("text_config");
        // an everyday run takes every second value of a setting, beginning with the first or second by turns
        int stride = Effort.Choose(everyday: 2, full: 1), begin = 0;
        foreach (var (key, value) in Settings(JsonNode.Parse(written)!.AsObject(), isNested).ToArray())
        {
            foreach (string other in Others(value).Append("null").Skip(begin++ % stride).Where((_, i) => i % stride == 0))
            {
                var config = JsonNode.Parse(written)!.AsObject();
                Settings(config, isNested)[key] = JsonNode.Parse(other);
                File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
                var error = Record.Exception(() => PretrainedModel.Load(folder).Dispose());
                if (error is null) continue;
                Assert.True(error is InvalidDataException && error.Message.Contains(folder),
                    $"{key} = {other[..Math.Min(40, other.Length)]}: {error}");
                refused++;
            }
        }
        Assert.True(refused > 20, $"{refused} refused");
        Assert.True(Process.GetCurrentProcess().PeakWorkingSet64 - before < MaxMemory);
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    [InlineData("model.safetensors.index.json")]
    [InlineData("generation_config.json")]
    [InlineData("tokenizer.json")]
    [InlineData("tokenizer_config.json")]
    [InlineData("chat_template.jinja")]
    [InlineData("adapter_config.json")]
    [InlineData("adapter_model.safetensors")]
    [InlineData("design.json")]
    public async Task A_named_pipe_is_refused_by_name_before_it_is_opened(string file)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "named pipes are those of Linux");
        string source = Path.Combine(ConformanceTests.Folder, "llama"), folder = place["pipe"], pipe = Path.Combine(folder, file);
        Directory.CreateDirectory(folder);
        foreach (string path in Directory.GetFiles(source)) File.Copy(path, Path.Combine(folder, Path.GetFileName(path)), overwrite: true);
        if (file == "adapter_model.safetensors") File.WriteAllText(Path.Combine(folder, "adapter_config.json"), PeftConfigText);
        if (file.EndsWith("index.json", StringComparison.Ordinal)) File.Delete(Path.Combine(folder, "model.safetensors"));
        File.Delete(pipe);
        using (var process = Process.Start("mkfifo", [pipe])) process.WaitForExit();
        Assert.True(File.Exists(pipe));
        Action read = file switch
        {
            "generation_config.json" => () => Tokenizer.ReadStopTokens(folder),
            "tokenizer.json" => () => Tokenizer.Load(folder),
            "tokenizer_config.json" or "chat_template.jinja" => () => ChatTemplate.FromFolder(folder, new ByteTokenizer()),
            "adapter_config.json" or "adapter_model.safetensors" => () => PeftAdapters.Load(PretrainedModel.Load(source), folder, "llama"),
            "design.json" => () => Checkpoint.LoadDesign(folder),
            _ => () => PretrainedModel.Load(folder),
        };
        // a reader that opened the pipe would wait for its writer
        var error = await Assert.ThrowsAsync<InvalidDataException>(() => Task.Run(read, TestContext.Current.CancellationToken).WaitAsync(maxTime));
        Assert.Contains($"{pipe}: this is a named pipe; expected a regular file", error.Message);
    }

    const string PeftConfigText = """{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}""";

    static byte[] Header(string json, int data = 0)
    {
        var bytes = Encoding.UTF8.GetBytes(json);
        return [.. BitConverter.GetBytes((long)bytes.Length), .. bytes, .. new byte[data]];
    }

    public static TheoryData<string> Damages => [.. damages.Keys];

    static readonly Dictionary<string, (Func<byte[], byte[]> Change, string Says)> damages = new()
    {
        ["an empty file"] = (_ => [], "model.safetensors"),
        ["a file cut short"] = (bytes => bytes[..(bytes.Length / 2)], "data_offsets"),
        ["a header longer than the file"] = (bytes => [.. BitConverter.GetBytes(1L << 40), .. bytes[8..]], "header"),
        ["a header of negative length"] = (bytes => [.. BitConverter.GetBytes(-1L), .. bytes[8..]], "header"),
        ["a header of nothing but brackets"] = (_ => Header(new string('[', 10_000)), "header"),
        ["offsets past the end"] = (_ => Header("""{"model.norm.weight":{"dtype":"F32","shape":[32],"data_offsets":[0,128]}}""", 64),
        "the data is 64 bytes long"),
        ["offsets that overlap"] = (_ =>
        Header("""{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}""", 24),
        "inside the tensor before it"),
        ["too many elements"] = (_ => Header("""{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}""", 16),
        "too many elements"),
        ["a shape that its bytes do not back"] =
        (_ => Header("""{"model.norm.weight":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,16]}}""", 16), "data_offsets"),
        ["a tensor of another kind"] = (_ => Header("""{"a":{"dtype":"PICKLE","shape":[4],"data_offsets":[0,16]}}""", 16), "expected one of"),
        ["no tensors"] = (_ => Header("{}"), "the files contain 0 elements"),
    };

    [Theory, MemberData(nameof(Damages))]
    public void A_damaged_file_of_weights_is_refused_by_name(string damage)
    {
        string source = Path.Combine(ConformanceTests.Folder, "llama"), folder = place["llama"];
        Directory.CreateDirectory(folder);
        // wide enough that nothing could be missing among the tensors by chance
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!;
        if (damage == "no tensors") config["vocab_size"] = 1 << 20;
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        File.WriteAllBytes(Path.Combine(folder, "model.safetensors"),
            damages[damage].Change(File.ReadAllBytes(Path.Combine(source, "model.safetensors"))));
        var error = Assert.Throws<InvalidDataException>(() => PretrainedModel.Load(folder).Dispose());
        Assert.Contains(folder, error.Message);
        Assert.Contains(damages[damage].Says, error.Message);
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("{\"weight_map\":[]}")]
    [InlineData("{\"weight_map\":{}}")]
    [InlineData("{\"weight_map\":{\"a\":7}}")]
    [InlineData("{\"weight_map\":{\"a\":\"model-1.safetensors\",\"a\":\"model-2.safetensors\"}}")]
    [InlineData("{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}")]
    [InlineData("{\"weight_map\":{\"a\":\"../model.safetensors\"}}")]
    [InlineData("{\"weight_map\":{\"a\":\"/dev/zero\"}}")]
    [InlineData("{\"weight_map\":{\"a\":\"CON.safetensors\\u0000\"}}")]
    [InlineData("{\"weight_map\":")]
    public void A_damaged_index_is_refused_by_name(string index)
    {
        string folder = place["shards"];
        Directory.CreateDirectory(folder);
        File.Copy(Path.Combine(ConformanceTests.Folder, "llama", "config.json"), Path.Combine(folder, "config.json"));
        File.WriteAllText(Path.Combine(folder, "model.safetensors.index.json"), index);
        Assert.Contains("model.safetensors.index.json", Assert.Throws<InvalidDataException>(() => PretrainedModel.Load(folder).Dispose()).Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{\"model_type\": \"llama\"")]
    [InlineData("{\"model_type\": 7}")]
    [InlineData("{\"model_type\": \"../llama\"}")]
    [InlineData("{\"model_type\": \"llama\"}")]
    [InlineData("{\"model_type\": \"llama\", \"hidden_size\": Infinity}")]
    public void A_damaged_configuration_is_refused_by_name(string config)
    {
        File.WriteAllText(place["config.json"], config);
        Assert.Contains("config.json", Assert.Throws<InvalidDataException>(() => PretrainedModel.LoadDesign(place.Path)).Message);
    }

    [Fact]
    public void A_configuration_nested_without_end_or_larger_than_any_is_refused()
    {
        File.WriteAllText(place["config.json"], "{\"model_type\":" + new string('[', 100_000));
        Assert.Throws<InvalidDataException>(() => PretrainedModel.LoadDesign(place.Path));
        using (var file = File.Create(place["config.json"])) file.SetLength(1L << 32);       // a hole, which takes no disk
        Assert.Contains("bytes", Assert.Throws<InvalidDataException>(() => PretrainedModel.LoadDesign(place.Path)).Message);
    }
}
