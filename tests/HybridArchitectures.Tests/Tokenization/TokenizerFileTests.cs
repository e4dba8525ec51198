using System.Text;
using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

public sealed class TokenizerFileTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("tokenizer-files-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    string RefusedRanks(string content)
    {
        string path = Path.Combine(folder, "tokenizer.model");
        File.WriteAllText(path, content);
        string message = Assert.Throws<InvalidDataException>(() => Llama3Tokenizer.Load(path)).Message;
        Assert.Contains(path, message);
        return message;
    }

    string RefusedJson(Action<JsonNode> change)
    {
        var root = JsonNode.Parse(File.ReadAllText(TokenizerCases.Json))!;
        change(root);
        return RefusedJsonText(root.ToJsonString());
    }

    string RefusedJsonText(string content)
    {
        string path = Path.Combine(folder, "tokenizer.json");
        File.WriteAllText(path, content);
        string message = Assert.Throws<InvalidDataException>(() => Llama3Tokenizer.Load(path)).Message;
        Assert.Contains(path, message);
        return message;
    }

    [Fact]
    public void Damaged_rank_files_are_refused_by_line()
    {
        string good = File.ReadAllText(TokenizerCases.RankFile);
        string[] lines = good.TrimEnd('\n').Split('\n');
        string With(int line, string text) => string.Join('\n', lines.Select((old, index) => index == line - 1 ? text : old));
        Assert.Contains("empty", RefusedRanks(""));
        Assert.Contains("line 7", RefusedRanks(With(7, "KA==")));
        Assert.Contains("line 7: \"K*==\" is not base64", RefusedRanks(With(7, "K*== 6")));
        Assert.Contains("line 7: rank 3 is already on line 4", RefusedRanks(With(7, lines[6].Split(' ')[0] + " 3")));
        Assert.Contains("line 7: the token is already on line 3", RefusedRanks(With(7, lines[2].Split(' ')[0] + " 6")));
        Assert.Contains("99999999999999", RefusedRanks(With(7, lines[6].Split(' ')[0] + " 99999999999999")));
        Assert.Contains("line 7", RefusedRanks(With(7, lines[6].Split(' ')[0] + " -6")));
        Assert.Contains("line 7", RefusedRanks(With(7, "")));
        Assert.Contains("rank 6", RefusedRanks(With(7, lines[6].Split(' ')[0] + " 960")));
        Assert.Contains("single byte", RefusedRanks(string.Join('\n', lines.Take(100))));
        Assert.Contains("line 960", RefusedRanks(good.TrimEnd('\n')[..^5]));
        Assert.Contains("line 1", RefusedRanks("\n\u000E\n\u0005<unk>\u0015\0\0\0\0\u0018\u0002"));
    }

    [Fact]
    public void A_rank_file_with_carriage_returns_reads_alike()
    {
        string path = Path.Combine(folder, "tokenizer.model");
        File.WriteAllText(path, File.ReadAllText(TokenizerCases.RankFile).Replace("\n", "\r\n"));
        Assert.Equal([516], Llama3Tokenizer.Load(path).Encode("hello"));
    }

    [Fact]
    public void Files_that_are_not_there_are_named()
    {
        Assert.Throws<FileNotFoundException>(() => Llama3Tokenizer.Load(Path.Combine(folder, "no.json")));
        Assert.Contains(folder, Assert.Throws<FileNotFoundException>(() => Llama3Tokenizer.Load(folder)).Message);
    }

    [Fact]
    public void Truncated_json_is_refused_by_line()
    {
        string good = File.ReadAllText(TokenizerCases.Json);
        Assert.Contains("line ", RefusedJsonText(good[..(good.Length / 2)]));
        Assert.Contains("the file is empty", RefusedJsonText(""));
        Assert.Contains("top level", RefusedJsonText("[]"));
        Assert.Contains("\"decoder\" is missing", RefusedJson(root => root.AsObject().Remove("decoder")));
        Assert.Contains("\"vocab\" is missing", RefusedJson(root => root["model"]!.AsObject().Remove("vocab")));
        Assert.Contains("model", RefusedJsonText("{\"model\": {}, \"model\": {}}"));
    }

    [Fact]
    public void Values_of_the_wrong_kind_are_refused_by_position()
    {
        Assert.Contains("model.vocab.hello: found String", RefusedJson(root => root["model"]!["vocab"]!["hello"] = "516"));
        Assert.Contains("model.vocab.hello: the token id is 99999999999", RefusedJson(root => root["model"]!["vocab"]!["hello"] = 99999999999));
        Assert.Contains("model.vocab.hello: the token id is -1", RefusedJson(root => root["model"]!["vocab"]!["hello"] = -1));
        Assert.Contains("model.vocab.hello: the token id is 1.5", RefusedJson(root => root["model"]!["vocab"]!["hello"] = 1.5));
        Assert.Contains("share id 3", RefusedJson(root => root["model"]!["vocab"]!["hello"] = 3));
        Assert.Contains("share id 962", RefusedJson(root => root["model"]!["vocab"]!["hello"] = 962));
        Assert.Contains("model.merges: found Object", RefusedJson(root => root["model"]!["merges"] = new JsonObject()));
        Assert.Contains("model.merges[0]", RefusedJson(root => root["model"]!["merges"]![0] = new JsonArray("i", "n", "g")));
        Assert.Contains("added_tokens[1]", RefusedJson(root => root["added_tokens"]![1]!["id"] = 960));
        Assert.Contains("byte-level", RefusedJson(root => root["model"]!["vocab"]!["a b"] = 2000));
        Assert.Contains("single byte 0x21", RefusedJson(root => root["model"]!["vocab"]!.AsObject().Remove("!")));
    }

    [Fact]
    public void Other_kinds_of_tokenizer_are_refused_with_the_reason()
    {
        Assert.Contains("\"WordPiece\" is not supported", RefusedJson(root => root["model"]!["type"] = "WordPiece"));
        Assert.Contains("\"Unigram\" is not supported", RefusedJson(root => root["model"]!["type"] = "Unigram"));
        Assert.Contains("byte_fallback", RefusedJson(root => root["model"]!["byte_fallback"] = true));
        Assert.Contains("normalizer", RefusedJson(root => root["normalizer"] = new JsonObject { ["type"] = "NFC" }));
        Assert.Contains("truncation", RefusedJson(root => root["truncation"] = new JsonObject { ["max_length"] = 5 }));
        Assert.Contains("\"Metaspace\" is not supported", RefusedJson(root => root["pre_tokenizer"] = new JsonObject { ["type"] = "Metaspace" }));
        Assert.Contains("\"Removed\" is not supported", RefusedJson(root => root["pre_tokenizer"]!["pretokenizers"]![0]!["behavior"] = "Removed"));
        Assert.Contains("add_prefix_space", RefusedJson(root => root["pre_tokenizer"]!["pretokenizers"]![1]!["add_prefix_space"] = true));
        Assert.Contains("\"Sequence\" is not supported", RefusedJson(root => root["decoder"] = new JsonObject { ["type"] = "Sequence" }));
        Assert.Contains("\"surprise\" is not understood", RefusedJson(root => root["model"]!["surprise"] = 1));
        Assert.Contains("after the text", RefusedJson(root =>
            root["post_processor"]!["processors"]![1]!["single"]!.AsArray()
                .Add(JsonNode.Parse("""{"SpecialToken":{"id":"<|end_of_text|>","type_id":0}}"""))));
    }

    [Fact]
    public void Names_and_texts_that_are_not_Unicode_are_refused()
    {
        string good = File.ReadAllText(TokenizerCases.Json);
        Assert.Contains("not Unicode", RefusedJsonText(good.Replace("\"hello\"", "\"\\ud800\"", StringComparison.Ordinal)));
        Assert.Contains("not Unicode", RefusedJsonText(good.Replace("\"normalizer\"", "\"\\udc00\"", StringComparison.Ordinal)));
        string path = Path.Combine(folder, "tokenizer.json");
        byte[] bytes = Encoding.UTF8.GetBytes(good);
        int at = bytes.AsSpan().IndexOf("\"hello\""u8);
        bytes[at + 2] = 0xFF;
        File.WriteAllBytes(path, bytes);
        Assert.Contains(path, Assert.Throws<InvalidDataException>(() => Tokenizer.Load(path)).Message);
    }

    [Fact]
    public void Files_that_are_no_regular_files_or_too_large_are_refused()
    {
        string path = Path.Combine(folder, "tokenizer.json"), ranks = Path.Combine(folder, "tokenizer.model");
        foreach (string file in new[] { path, ranks })
        {
            using (var stream = File.Create(file)) stream.SetLength(BoundedFile.MaxTokenizerBytes + 1);
            Assert.Contains($"has {BoundedFile.MaxTokenizerBytes + 1} bytes; expected at most {BoundedFile.MaxTokenizerBytes}",
                Assert.Throws<InvalidDataException>(() => Tokenizer.Load(file)).Message);
            File.Delete(file);
            if (!OperatingSystem.IsLinux()) continue;
            File.CreateSymbolicLink(file, "/dev/zero");
            Assert.Contains("this is a character device; expected a regular file",
                Assert.Throws<InvalidDataException>(() => Tokenizer.Load(file)).Message);
            File.Delete(file);
        }
    }

    [Fact]
    public void A_link_is_followed()
    {
        if (OperatingSystem.IsWindows()) return;
        string path = Path.Combine(folder, "tokenizer.json");
        File.CreateSymbolicLink(path + ".1", TokenizerCases.Json);
        File.CreateSymbolicLink(path, path + ".1");
        Assert.Equal([516], Tokenizer.Load(path).Encode("hello"));
    }

    [Fact]
    public void A_byte_order_mark_is_passed_over()
    {
        string path = Path.Combine(folder, "tokenizer.json");
        File.WriteAllText(path, File.ReadAllText(TokenizerCases.Json), new UTF8Encoding(encoderShouldEmitUTF8Identifier: true));
        Assert.Equal([516], Tokenizer.Load(path).Encode("hello"));
    }

    [Fact]
    public void A_long_token_does_not_slow_the_check_of_the_merges()
    {
        // doubled eleven times: checked pair by pair, this took minutes
        var root = JsonNode.Parse(File.ReadAllText(TokenizerCases.Json))!;
        var (vocab, merges) = (root["model"]!["vocab"]!.AsObject(), root["model"]!["merges"]!.AsArray());
        int id = 2000;
        for (string half = "~"; half.Length < 4095 / 2; half += half)
        {
            vocab[half + half] = id++;
            merges.Add(new JsonArray(half, half));
        }
        string path = Path.Combine(folder, "tokenizer.json");
        File.WriteAllText(path, root.ToJsonString());
        Assert.Equal([id - 1, id - 2], Llama3Tokenizer.Load(path).Encode(new string('~', 3072)));
    }

    [Fact]
    public void Merges_that_ranks_cannot_express_are_refused()
    {
        Assert.Contains("never merged", RefusedJson(root => root["model"]!["merges"]!.AsArray().RemoveAt(5)));
        Assert.Contains("out of the vocabulary's order", RefusedJson(root =>
        {
            var merges = root["model"]!["merges"]!.AsArray();
            var last = merges[^1]!.DeepClone();
            merges.RemoveAt(merges.Count - 1);
            merges.Insert(0, last);
        }));
        Assert.Contains("occurs twice",
            RefusedJson(root => root["model"]!["merges"]!.AsArray().Insert(1, root["model"]!["merges"]![0]!.DeepClone())));
    }

    [Fact]
    public void Added_tokens_of_millions_of_characters_are_refused_by_their_sum()
    {
        string message = RefusedJson(root =>
        {
            for (int i = 0; i < 1100; i++)
                root["added_tokens"]!.AsArray().Add(new JsonObject { ["id"] = 2000 + i, ["content"] = $"{i}{new string('a', 4000)}" });
        });
        Assert.Matches(@"added_tokens\[\d+\]: the added tokens up to this one have \d+ characters; expected at most 4194304 in all", message);
    }

    [Fact]
    public void Merges_written_as_texts_and_other_special_tokens_are_taken()
    {
        var root = JsonNode.Parse(File.ReadAllText(TokenizerCases.Json))!;
        var merges = root["model"]!["merges"]!.AsArray();
        root["model"]!["merges"] = new JsonArray([.. merges.Select(pair => (JsonNode)$"{pair![0]} {pair[1]}")]);
        root["added_tokens"]!.AsArray()
            .Add(JsonNode.Parse(
            """{"id":970,"content":"<word>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false}"""));
        root["post_processor"] = null;
        string path = Path.Combine(folder, "tokenizer.json");
        File.WriteAllText(path, root.ToJsonString());
        var tokenizer = Llama3Tokenizer.Load(path);
        Assert.Equal(971, tokenizer.VocabularySize);
        Assert.Equal([516, 970, 676], tokenizer.Encode("hello<word> hello"));
        Assert.Equal("<word>", tokenizer.Decode([970], skipSpecialTokens: true));
        Assert.Equal(960, tokenizer.BeginOfText);
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([967]));
    }
}
