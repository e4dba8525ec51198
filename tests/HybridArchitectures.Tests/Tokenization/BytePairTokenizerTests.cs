using System.Text.Json.Nodes;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

/// <summary>What recorded tokens do not say; those are among the conformance cases.</summary>
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
    public void Ends_are_those_of_the_files_beside_it()
    {
        var tokenizer = BytePairTokenizer.Load(Folder("nemotron"));
        int Special(string text) => tokenizer.SpecialTokens[text];
        Assert.Equal((Special("<|endoftext|>"), Special("<|endoftext|>"), Special("<|im_end|>")), (tokenizer.BeginOfText, tokenizer.EndOfText, tokenizer.Padding));
        Assert.Equal([Special("<|endoftext|>"), Special("<|im_end|>")], tokenizer.StopTokens);
        Assert.Null(BytePairTokenizer.Load(Folder("qwen")).BeginOfText);
        File.WriteAllText(place["generation_config.json"], "{\"eos_token_id\":[7,99999]}");
        var other = Changed(_ => { });
        Assert.Equal([other.SpecialTokens["<|im_end|>"], 7], other.StopTokens);
        Assert.Null(other.EndOfText);
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
    public void What_would_give_other_tokens_is_refused_by_its_place()
    {
        Assert.Contains("byte_fallback", Refused(root => root["model"]!["byte_fallback"] = true));
        Assert.Contains("model.dropout", Refused(root => root["model"]!["dropout"] = 0.1));
        Assert.Contains("\"Unigram\" is not supported", Refused(root => root["model"]!["type"] = "Unigram"));
        Assert.Contains("normalizer.type: \"NFKC\"", Refused(root => root["normalizer"]!["type"] = "NFKC"));
        Assert.Contains("pre_tokenizer.pretokenizers[1]: add_prefix_space", Refused(root => root["pre_tokenizer"]!["pretokenizers"]![1]!["add_prefix_space"] = true));
        Assert.Contains("0 ByteLevel steps", Refused(root => root["pre_tokenizer"]!["pretokenizers"]!.AsArray().RemoveAt(1)));
        Assert.Contains("\"MergedWithNext\"", Refused(root => root["pre_tokenizer"]!["pretokenizers"]![0]!["behavior"] = "MergedWithNext"));
        Assert.Contains("\"Metaspace\" is not supported", Refused(root => root["pre_tokenizer"]!["pretokenizers"]![0]!["type"] = "Metaspace"));
        Assert.Contains("decoder.type", Refused(root => root["decoder"]!["type"] = "Metaspace"));
        Assert.Contains("is given twice", Refused(root => root["model"]!["merges"]!.AsArray().Add(root["model"]!["merges"]![0]!.DeepClone())));
        Assert.Contains("not in the vocabulary", Refused(root => root["model"]!["merges"]!.AsArray().Add("zz qq")));
        Assert.Contains("single byte 0x41", Refused(root => root["model"]!["vocab"]!.AsObject().Remove("A")));
        Assert.Contains("\"surprise\" is not understood", Refused(root => root["surprise"] = 1));
        Assert.Contains("normalised text", Refused(root => root["added_tokens"]![0]!["normalized"] = true));
        Assert.Contains("lstrip", Refused(root => root["added_tokens"]![0]!["lstrip"] = true));
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
