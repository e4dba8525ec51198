using System.Text.Json.Nodes;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

/// <summary>Tests what recorded tokens do not show. Recorded tokens are among the conformance cases.</summary>
public sealed class BytePairTokenizerTests : IDisposable
{
    static readonly string Cases = Path.Combine(AppContext.BaseDirectory, "Cases", "tokenizers");

    readonly TemporaryFolder place = new();

    public void Dispose() => place.Dispose();

    static string Folder(string layout) => Path.Combine(Cases, layout);

    BytePairTokenizer Changed(Action<JsonNode> change, string layout = "qwen")
    {
        var root = JsonNode.Parse(File.ReadAllText(Path.Combine(Folder(layout), "tokenizer.json")))!;
        change(root);
        File.WriteAllText(place["tokenizer.json"], root.ToJsonString());
        return BytePairTokenizer.Load(place.Path);
    }

    string Refused(Action<JsonNode> change)
    {
        string message = Assert.Throws<InvalidDataException>(() => Changed(change)).Message;
        Assert.StartsWith(place["tokenizer.json"], message);
        return message;
    }

    [Fact]
    public void Ends_are_those_of_the_neighbouring_files()
    {
        var tokenizer = BytePairTokenizer.Load(Folder("nemotron"));
        int Special(string text) => tokenizer.SpecialTokens[text];
        Assert.Equal((Special("<|endoftext|>"), Special("<|endoftext|>"), Special("<|im_end|>")),
            (tokenizer.BeginOfText, tokenizer.EndOfText, tokenizer.Padding));
        Assert.Equal([Special("<|endoftext|>"), Special("<|im_end|>")], tokenizer.StopTokens);
        Assert.Null(BytePairTokenizer.Load(Folder("qwen")).BeginOfText);
        File.WriteAllText(place["generation_config.json"], "{\"eos_token_id\":[7,99999]}");
        var other = Changed(_ => { });
        Assert.Equal([other.SpecialTokens["<|im_end|>"], 7], other.StopTokens);
        Assert.Null(other.EndOfText);
    }

    [Theory]
    [InlineData("{\"eos_token_id\":[7,9]}", null, "7 9")]
    [InlineData("{\"eos_token_id\":7,\"limit\":Infinity}", null, "7")]
    [InlineData("{\"text_config\":{\"eos_token_id\":[7,9]}}", null, "7 9")]
    [InlineData("{\"eos_token_id\":7}", "{\"eos_token_id\":[9,11]}", "9 11")]
    [InlineData("{\"eos_token_id\":[7]}", "{\"temperature\":1.0,\"eos_token_id\":null}", "7")]
    public void End_ids_are_those_of_the_generation_config_or_else_of_the_config(string config, string? generation, string expected)
    {
        File.WriteAllText(place["config.json"], config);
        if (generation is not null) File.WriteAllText(place["generation_config.json"], generation);
        int[] ids = [.. expected.Split(' ').Select(int.Parse)];
        Assert.Equal(ids, Tokenizer.ReadStopTokens(place.Path));
        File.Copy(Path.Combine(Folder("qwen"), "tokenizer.json"), place["tokenizer.json"]);
        Assert.Equal(ids, Tokenizer.Load(place.Path).StopTokens.Where(ids.Contains));
        foreach (string name in new[] { "tokenizer.json", "tokenizer.model" })
        {
            File.Copy(Path.Combine(TokenizerCases.Folder, name), place[name], overwrite: true);
            Assert.Equal(ids, Tokenizer.Load(place[name]).StopTokens.Where(ids.Contains));
        }
        Directory.CreateDirectory(place["original"]);
        File.Move(place["tokenizer.model"], Path.Combine(place["original"], "tokenizer.model"));
        Assert.Equal(ids, Tokenizer.Load(Path.Combine(place["original"], "tokenizer.model")).StopTokens.Where(ids.Contains));
    }

    [Fact]
    public void A_hundred_thousand_added_tokens_are_read_and_found()
    {
        var start = Environment.CpuUsage.TotalTime;
        var tokenizer = Changed(root =>
        {
            for (int i = 0; i < 100_000; i++)
                root["added_tokens"]!.AsArray().Add(new JsonObject { ["id"] = 1000 + i, ["content"] = $"<extra {i}>", ["special"] = i % 2 == 0,
                    ["normalized"] = i % 3 == 0 });
        });
        string text = string.Concat(Enumerable.Range(0, 100_000).Select(i => $"<extra {i}>"));
        Assert.Equal(Enumerable.Range(1000, 100_000), tokenizer.Encode(text, recognizeSpecial: true));
        // compared with each other, they took over 90 s
        Assert.InRange((Environment.CpuUsage.TotalTime - start).TotalSeconds, 0, 45);
    }

    [Fact]
    public void Words_of_a_million_letters_take_seconds()
    {
        var tokenizer = BytePairTokenizer.Load(Folder("qwen"));
        foreach (string word in new[] { new string('e', 1_000_000), string.Concat(Enumerable.Repeat("thereadagainmodel", 60_000)),
            new string(' ', 1_000_000) + "x" })
        {
            var start = Environment.CpuUsage.TotalTime;
            var ids = tokenizer.Encode(word);
            Assert.InRange((Environment.CpuUsage.TotalTime - start).TotalSeconds, 0, 20);
            Assert.Equal(word, tokenizer.Decode(ids));
        }
    }

    [Fact]
    public void The_tokenizer_of_a_folder_is_of_the_kind_its_file_is()
    {
        Assert.IsType<BytePairTokenizer>(Tokenizer.Load(Folder("falcon")));
        Assert.IsType<Llama3Tokenizer>(Tokenizer.Load(Path.Combine(AppContext.BaseDirectory, "Cases", "tokenizer")));
        Assert.IsType<Llama3Tokenizer>(Tokenizer.Load(Path.Combine(AppContext.BaseDirectory, "Cases", "tokenizer", "tokenizer.model")));
        Assert.Throws<FileNotFoundException>(() => Tokenizer.Load(place.Path));
        Assert.Throws<FileNotFoundException>(() => BytePairTokenizer.Load(place.Path));
    }

    [Fact]
    public void Settings_that_would_change_tokens_are_refused_by_position()
    {
        Assert.Contains("byte_fallback", Refused(root => root["model"]!["byte_fallback"] = true));
        Assert.Contains("model.dropout", Refused(root => root["model"]!["dropout"] = 0.1));
        Assert.Contains("\"Unigram\" is not supported", Refused(root => root["model"]!["type"] = "Unigram"));
        Assert.Contains("normalizer.type: \"NFKC\"", Refused(root => root["normalizer"]!["type"] = "NFKC"));
        Assert.Contains("pre_tokenizer.pretokenizers[1]: add_prefix_space",
            Refused(root => root["pre_tokenizer"]!["pretokenizers"]![1]!["add_prefix_space"] = true));
        Assert.Contains("0 ByteLevel steps", Refused(root => root["pre_tokenizer"]!["pretokenizers"]!.AsArray().RemoveAt(1)));
        Assert.Contains("\"MergedWithNext\"", Refused(root => root["pre_tokenizer"]!["pretokenizers"]![0]!["behavior"] = "MergedWithNext"));
        Assert.Contains("\"Metaspace\" is not supported", Refused(root => root["pre_tokenizer"]!["pretokenizers"]![0]!["type"] = "Metaspace"));
        Assert.Contains("decoder.type", Refused(root => root["decoder"]!["type"] = "Metaspace"));
        Assert.Contains("occurs twice", Refused(root => root["model"]!["merges"]!.AsArray().Add(root["model"]!["merges"]![0]!.DeepClone())));
        Assert.Contains("not in the vocabulary", Refused(root => root["model"]!["merges"]!.AsArray().Add("zz qq")));
        Assert.Contains("single byte 0x41", Refused(root => root["model"]!["vocab"]!.AsObject().Remove("A")));
        Assert.Contains("\"surprise\" is not understood", Refused(root => root["surprise"] = 1));
        Assert.Contains("more than 64 steps", Refused(root =>
        {
            var steps = root["pre_tokenizer"]!["pretokenizers"]!.AsArray();
            for (int i = 0; i < 70; i++) steps.Insert(0, steps[0]!.DeepClone());
        }));
        Assert.Contains("eos_token_id[1]: found", Assert.Throws<InvalidDataException>(() =>
        {
            File.WriteAllText(place["generation_config.json"], "{\"eos_token_id\":[7,1.5]}");
            Changed(_ => { });
        }).Message);
    }

    [Fact]
    public void A_long_piece_and_many_pieces_come_out_as_short_ones_do()
    {
        var tokenizer = BytePairTokenizer.Load(Folder("granite"));
        string word = string.Concat(Enumerable.Repeat("thereadagainmodel", 20_000));
        Assert.Equal(word, tokenizer.Decode(tokenizer.Encode(word)));
        string words = string.Join(' ', Enumerable.Range(0, 100_000));
        Assert.Equal(words, tokenizer.Decode(tokenizer.Encode(words)));
        int[] three = [.. tokenizer.Encode(" again"), .. tokenizer.Encode(" again"), .. tokenizer.Encode(" again")];
        Assert.Equal(three, tokenizer.Encode(" again again again"));
    }
}
