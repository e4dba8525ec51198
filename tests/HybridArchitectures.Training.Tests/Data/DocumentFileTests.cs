using System.Text;
using System.Text.Json;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class DocumentFileTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    string Write(string name, byte[] bytes)
    {
        File.WriteAllBytes(folder[name], bytes);
        return folder[name];
    }

    static string Refused(string path, string column = "text")
    {
        var message = Assert.Throws<InvalidDataException>(() => new DocumentFile(path, column).Read().Count()).Message;
        Assert.Contains(path, message);
        return message;
    }

    [Fact]
    public async Task Every_layout_gives_the_same_documents()
    {
        var texts = SampleFiles.Texts(150);
        var lines = SampleFiles.JsonLines(texts);
        await SampleFiles.Parquet(folder["a.parquet"], texts);
        foreach (var path in new[]
        {
            Write("a.jsonl", lines), Write("b.ndjson", [0xef, 0xbb, 0xbf, .. lines[..^1]]), Write("c.jsonl.gz", SampleFiles.Gzip(lines)),
                Write("d.JSONL.ZST", SampleFiles.Zstd(lines)),
            Write("two.jsonl.gz", [.. SampleFiles.Gzip(lines[..1000]), .. SampleFiles.Gzip(lines[1000..])]),
            Write("two.jsonl.zst", [.. SampleFiles.Zstd(lines[..1000]), .. SampleFiles.Zstd(lines[1000..])]),
            folder["a.parquet"],
        })
        {
            var file = new DocumentFile(path);
            Assert.Equal(texts, file.Read());
            Assert.Equal(file.Length, file.Position);
        }
        var whole = string.Concat(texts);
        Assert.Equal([whole], new DocumentFile(Write("a.txt", Encoding.UTF8.GetBytes("\uFEFF" + whole))).Read());
        Assert.Equal([whole], new DocumentFile(Write("a.md.zst", SampleFiles.Zstd(Encoding.UTF8.GetBytes(whole)))).Read());
    }

    [Fact]
    public async Task Absent_and_empty_texts_are_left_out()
    {
        string?[] texts = ["one", null, "", "two"];
        await SampleFiles.Parquet(folder["a.parquet"], texts, rowsAGroup: 3);
        Assert.Equal(["one", "two"], new DocumentFile(folder["a.parquet"]).Read());
        Assert.Equal(["one", "two"], new DocumentFile(Write("a.jsonl", SampleFiles.JsonLines(texts))).Read());
        Assert.Empty(new DocumentFile(Write("empty.jsonl", [])).Read());
        Assert.Empty(new DocumentFile(Write("empty.txt", [])).Read());
    }

    [Fact]
    public void Long_lines_are_read_whole()
    {
        var texts = new[] { new string('a', 300_000), "b", new string('c', 70_000) };
        Assert.Equal(texts, new DocumentFile(Write("a.jsonl", SampleFiles.JsonLines(texts))).Read());
    }

    [Fact]
    public void Many_blank_lines_are_passed_and_counted()
    {
        string blank = new('\n', 3 << 20), path = folder["a.jsonl"];
        File.WriteAllText(path, $"{blank} \t\r\n {{\"text\": \"a\"}}\n{blank}{{\"text\": \"b\"}}{blank}{{\"text\": }}");
        using var texts = new DocumentFile(path).Read().GetEnumerator();
        Assert.True(texts.MoveNext());
        Assert.Equal("a", texts.Current);
        Assert.True(texts.MoveNext());
        Assert.Equal("b", texts.Current);
        Assert.Contains($"line {9 * (1 << 20) + 3}", Assert.Throws<InvalidDataException>(() => texts.MoveNext()).Message);
    }

    [Fact]
    public void Bad_lines_are_named_with_their_position()
    {
        var good = SampleFiles.JsonLines(["one"]);
        Assert.Contains($"line 2, at offset {good.Length}", Refused(Write("a.jsonl", [.. good, .. "{\"url\": 1}\n"u8])));
        Assert.Contains("no property 'text'", Refused(folder["a.jsonl"]));
        Assert.Contains($"line 2, at offset {good.Length + 9}", Refused(Write("b.jsonl", [.. good, .. "{\"text\": 1}\n"u8])));
        foreach (var bad in new[]
        {
            "[1]", "{\"text\": \"x\"", "{\"text\": \"x\"} 2", "{\"text\": \"\\ud8zz\"}", "{\"text\": \"\\q\"}", "{\"text\": \"a\tb\"}", "text",
                "{\"text\": tru}",
            "{\"text\": \"x\", \"other\": tru}", "{\"text\": \"x\" \"other\": 1}", "{\"other\": [1, \"text\": \"x\"}", "{\"text\" \"x\"}",
        })
            Assert.Contains("line 2", Refused(Write("c.jsonl", [.. good, .. Encoding.UTF8.GetBytes(bad)])));
        Assert.Contains("line 1", Refused(Write("d.jsonl", [.. "{\"text\": \""u8, 0xff, 0xfe, .. "\"}"u8])));
        Assert.Contains("at offset 3", Refused(Write("e.txt", [97, 98, 99, 0xff])));
        Assert.Contains("zero byte at offset 1", Refused(Write("f.txt", [97, 0, 99])));
        Assert.Throws<FileNotFoundException>(() => new DocumentFile(folder["absent.txt"]));
    }

    [Fact]
    public async Task Damaged_and_truncated_files_are_named_with_their_position()
    {
        var lines = SampleFiles.JsonLines(SampleFiles.Texts(2000));
        foreach (var (name, bytes) in new[] { ("a.jsonl.zst", SampleFiles.Zstd(lines)), ("a.jsonl.gz", SampleFiles.Gzip(lines)) })
        {
            foreach (int length in new[] { bytes.Length / 2, bytes.Length - 1, bytes.Length - 5, 3 })
                Assert.Matches("truncated at about offset [0-9]+ of", Refused(Write(name, bytes[..length])));
            var flipped = bytes.ToArray();
            for (int i = 0; i < 40; i++) flipped[bytes.Length / 2 + i] ^= 0x55;
            Assert.Contains(name, Refused(Write(name, flipped)));
            Refused(Write(name, lines));
        }
        await SampleFiles.Parquet(folder["a.parquet"], SampleFiles.Texts(200));
        var parquet = File.ReadAllBytes(folder["a.parquet"]);
        foreach (int length in new[] { parquet.Length - 1, parquet.Length - 300, parquet.Length / 2, 4, 0 })
            Assert.Contains($"offset {length}", Refused(Write("b.parquet", parquet[..length])));
        var damaged = parquet.ToArray();
        for (int i = 20; i < 90; i++) damaged[i] ^= 0x55;
        Assert.Matches("row group 0 of 5, column 'text' at offset [0-9]+", Refused(Write("c.parquet", damaged)));
        Assert.Contains("no column 'body'; it has text, id, language_score, token_count", Refused(folder["a.parquet"], "body"));
        Assert.Contains("Double", Refused(folder["a.parquet"], "language_score"));
    }

    [Theory]
    [InlineData("lines.json")]
    [InlineData("lines.json.gz")]
    [InlineData("lines.json.zst")]
    [InlineData("array.json")]
    [InlineData("array.json.gz")]
    [InlineData("pretty.json")]
    [InlineData("pretty-array.json.zst")]
    public void Records_named_json_are_documents_in_every_form(string name)
    {
        var texts = SampleFiles.Texts(300);
        var options = new JsonSerializerOptions { WriteIndented = name.StartsWith("pretty", StringComparison.Ordinal) };
        var records = texts.Select((text, i) =>
            JsonSerializer.Serialize(new { id = i, inner = new { text = "not this" }, text, tags = new[] { "]", "}" } }, options));
        var json = name.Contains("array") ? $"\uFEFF\n [{string.Join(" ,\n", records)}\n]\n" : $"\uFEFF{string.Join("\r\n", records)}";
        var bytes = Encoding.UTF8.GetBytes(json);
        var file = new DocumentFile(Write(
            name, name.EndsWith(".gz") ? SampleFiles.Gzip(bytes) : name.EndsWith(".zst") ? SampleFiles.Zstd(bytes) : bytes));
        Assert.Equal(texts, file.Read());
        Assert.Equal(file.Length, file.Position);
    }

    [Fact]
    public void Json_that_holds_no_records_is_refused_by_what_was_expected()
    {
        Assert.Contains("expected JSON objects with the property 'text'", Refused(Write("prose.json", "Once upon a time"u8.ToArray())));
        Assert.Contains("line 1, at offset 0 of the text: expected a property 'text'",
            Refused(Write("settings.json", "{\"a\": {\"text\": \"x\"}}"u8.ToArray())));
        Assert.Contains("an object with the property 'text'", Refused(Write("strings.json", "[\"one\", \"two\"]"u8.ToArray())));
        Assert.Contains("line 3, at offset 36",
            Refused(Write("second.json", "[\n {\"text\": \"one\"},\n {\"text\": \"two\" \"a\": 1}]"u8.ToArray())));
        Assert.Contains("line 2", Refused(Write("lines.json", "{\"text\": \"one\"}\n{\"text\": \"two}\n{\"text\": \"three\"}\n"u8.ToArray())));
        Assert.Contains("expected an object that ends", Refused(Write("cut.json", "[{\"text\": \"one\"}, {\"text\": \"tw"u8.ToArray())));
        Assert.Contains("',' or ']'", Refused(Write("open.json", "[{\"text\": \"one\"}"u8.ToArray())));
        Assert.Contains("nothing after the array", Refused(Write("after.json", "[{\"text\": \"one\"}] x"u8.ToArray())));
        Assert.Empty(new DocumentFile(Write("empty.json", " \n"u8.ToArray())).Read());
        Assert.Empty(new DocumentFile(Write("none.json", "[ ]"u8.ToArray())).Read());
        Assert.Equal(["Once upon a time"], new DocumentFile(folder["prose.json"], new DocumentFileOptions { Layout = DocumentLayout.Text }).Read());
    }

    [Fact]
    public void Records_under_the_name_of_a_text_are_not_taken_for_prose()
    {
        var lines = SampleFiles.JsonLines(["one", "two"]);
        Assert.Contains("the first line is a JSON object with the property 'text'", Refused(Write("records.txt", lines)));
        Assert.Contains(".jsonl", Refused(Write("records.gz", SampleFiles.Gzip(lines))));
        Assert.Equal(["one", "two"], new DocumentFile(folder["records.txt"], new DocumentFileOptions { Layout = DocumentLayout.JsonLines }).Read());
        Assert.Equal([Encoding.UTF8.GetString(lines)],
            new DocumentFile(folder["records.txt"], new DocumentFileOptions { Layout = DocumentLayout.Text }).Read());
        Assert.Equal(["{\"body\": 1}\n"], new DocumentFile(Write("code.txt", "{\"body\": 1}\n"u8.ToArray())).Read());
    }

    [Fact]
    public void What_nobody_reads_may_be_damaged_and_half_pairs_are_replaced_and_counted()
    {
        var deep = new string('[', 200) + new string(']', 200);
        var lines = "{\"score\": NaN, \"text\": \"one\"}\n{\"text\": \"t\\u0077o\\n\\ud83e\\udd8a\", \"x\": [-Infinity, {\"y\": Infinity}]}\n"
            + "{\"bad\": \"\\ud800\", \"text\": \"a\\ud800b\\udc00\"}\n{\"deep\": " + deep
            + ", \"text\": \"four\"}\n{\"text\": NaN}\n{\"te\\u0078t\": \"six\", \"z\": NaN}\n";
        byte[] raw = [.. Encoding.UTF8.GetBytes(lines), .. "{\"text\": \"c"u8, 0xed, 0xa0, 0xbd, .. "d\"}\n"u8, .. "{\"other\": \""u8, 0xff,
            .. "\", \"text\": \"eight\"}"u8];
        var file = new DocumentFile(Write("a.jsonl", raw));
        for (int pass = 0; pass < 2; pass++)
        {
            Assert.Equal(["one", "two\n\U0001F98A", "a\uFFFDb\uFFFD", "four", "six", "c\uFFFDd", "eight"], file.Read());
            Assert.Equal(3, file.ReplacedCharacters);
        }
        var text = new DocumentFile(Write("a.txt", [97, 0xed, 0xb0, 0x80, 98]));
        Assert.Equal(["a\uFFFDb"], text.Read());
        Assert.Equal(1, text.ReplacedCharacters);
    }

    [Fact]
    public void Encodings_that_are_not_read_are_refused_by_name()
    {
        foreach (var name in new[] { "a.txt", "a.jsonl", "a.json", "a.jsonl.gz" })
            foreach (var encoding in new Encoding[] { Encoding.Unicode, Encoding.BigEndianUnicode, Encoding.UTF32 })
            {
                byte[] bytes = [.. encoding.GetPreamble(), .. encoding.GetBytes("{\"text\": \"one\"}")];
                Assert.Contains(encoding == Encoding.UTF32 ? "UTF-32; expected UTF-8" : "UTF-16; expected UTF-8",
                    Refused(Write(name, name.EndsWith(".gz") ? SampleFiles.Gzip(bytes) : bytes)));
            }
    }

    [Fact]
    public void A_window_beyond_the_limit_is_distinguished_from_damage_and_read_on_request()
    {
        var path = Write("a.jsonl.zst", SampleFiles.ZstdWithWindow(SampleFiles.JsonLines(["one"]), windowLog: 28));
        var message = Refused(path);
        Assert.Contains("a larger window than 134217728 bytes, the limit for reading; the file is not damaged", message);
        Assert.Contains("MaxZstandardWindow", message);
        Assert.Equal(["one"], new DocumentFile(path, new DocumentFileOptions { MaxZstandardWindow = 1L << 28 }).Read());
        Assert.Throws<ArgumentOutOfRangeException>(
            "MaxZstandardWindow", () => new DocumentFile(path, new DocumentFileOptions { MaxZstandardWindow = 1L << 32 }));
    }

    [Fact]
    public void Long_text_becomes_several_documents_and_long_records_are_refused_with_the_limit()
    {
        var options = new DocumentFileOptions { MaxDocumentBytes = 1024 };
        var paragraphs = string.Concat(Enumerable.Range(0, 400).Select(i => $"Paragraph {i} is größer than 東京.\n{(i % 5 == 4 ? "\n" : "")}"));
        foreach (var (whole, end) in new[] { (paragraphs, "\n\n"), (paragraphs.Replace("\n\n", "\n"), "\n"), (paragraphs.Replace('\n', ' '), "") })
        {
            var parts = new DocumentFile(Write("a.txt.gz", SampleFiles.Gzip(Encoding.UTF8.GetBytes(whole))), options).Read().ToArray();
            Assert.Equal(whole, string.Concat(parts));
            Assert.All(parts, part => Assert.InRange(Encoding.UTF8.GetByteCount(part), 1, 1024));
            Assert.All(parts[..^1], part => Assert.EndsWith(end, part));
            Assert.True(parts.Length < 80, $"{parts.Length} parts");
        }
        var lines = SampleFiles.JsonLines([new string('a', 2000)]);
        foreach (var name in new[] { "a.jsonl", "a.json" })
        {
            var path = Write(name, lines);
            Assert.Contains("longer than 1024 bytes, the limit that MaxDocumentBytes sets",
                Assert.Throws<InvalidDataException>(() => new DocumentFile(path, options).Read().Count()).Message);
        }
        Assert.Throws<ArgumentOutOfRangeException>(
            "MaxDocumentBytes", () => new DocumentFile(folder["a.json"], new DocumentFileOptions { MaxDocumentBytes = 10 }));
    }

    [Fact]
    public void A_bomb_is_read_within_the_memory_asked_for()
    {
        var options = new DocumentFileOptions { MaxDocumentBytes = 1 << 20 };
        var bomb = SampleFiles.Zstd(Encoding.UTF8.GetBytes(new string('a', 64 << 20)));
        Assert.True(bomb.Length < 10_000);
        var path = Write("a.txt.zst", bomb);
        long peak = 0, characters = 0;
        foreach (var part in new DocumentFile(path, options).Read())
        {
            characters += part.Length;
            peak = Math.Max(peak, part.Length);
        }
        Assert.Equal((64 << 20, 1 << 20), (characters, (int)peak + 1 & ~1));
        Assert.Contains("longer than 1048576 bytes",
            Assert.Throws<InvalidDataException>(() => new DocumentFile(Write("a.jsonl.zst", bomb), options).Read().Count()).Message);
    }

    [Fact]
    public void Anything_but_a_regular_file_is_refused_by_name_before_it_is_opened()
    {
        Directory.CreateDirectory(folder["folder.txt"]);
        Assert.Contains("folder.txt: this is a folder", Assert.Throws<InvalidDataException>(() => new DocumentFile(folder["folder.txt"])).Message);
        Assert.SkipUnless(OperatingSystem.IsLinux(), "named pipes and devices are those of Linux");
        MakePipe(folder["pipe"]);
        string[] paths = [folder["pipe"], "/dev/zero"];
        foreach (var (path, kind) in paths.Zip(["a named pipe", "a character device"]))
            foreach (Action act in new Action[]
            {
                () => new DocumentFile(path), () =>
                    TextCorpus.FromPath(path), () => TokenDataset.Open(path), () => DocumentationCorpus.FromFiles([path]),
                () => TokenShards.Write([path], folder["out"], new HybridArchitectures.Tokenization.ByteTokenizer()),
            })
                Assert.Contains($"{path}: this is {kind}; expected a regular file", Assert.Throws<InvalidDataException>(act).Message);
        Directory.CreateDirectory(folder["shards"]);
        MakePipe(folder["shards/shards.json"]);
        Assert.Contains("a named pipe", Assert.Throws<InvalidDataException>(() => TokenShards.Open(folder["shards"])).Message);
        // in a folder of texts it is left out
        Directory.CreateDirectory(folder["texts"]);
        MakePipe(folder["texts/pipe.txt"]);
        File.WriteAllText(folder["texts/a.txt"], "one\ntwo\nthree\nfour\nfive\n");
        Assert.Equal("a.txt", Assert.Single(TextCorpus.FromPath(folder["texts"], 0.3).Training).Name);
    }

    [Fact]
    public async Task A_link_is_read_as_the_file_it_leads_to()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a privilege there");
        var texts = SampleFiles.Texts(150);
        await SampleFiles.Parquet(folder["blob1"], texts);
        Write("blob2", SampleFiles.Zstd(SampleFiles.JsonLines(texts)));
        foreach (var (name, blob) in new[] { ("a.parquet", "blob1"), ("a.jsonl.zst", "blob2") })
        {
            // two links, as in caches of the hub
            File.CreateSymbolicLink(folder["second"], blob);
            File.CreateSymbolicLink(folder[name], "second");
            var file = new DocumentFile(folder[name]);
            Assert.Equal(new FileInfo(folder[blob]).Length, file.Length);
            Assert.Equal(texts, file.Read());
            Assert.Equal(file.Length, file.Position);
            File.Delete(folder["second"]);
        }
    }

    [Fact]
    public void Shards_of_a_link_notice_that_the_file_behind_it_has_changed()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a privilege there");
        var tokenizer = new HybridArchitectures.Tokenization.ByteTokenizer();
        string blob = Write("blob", "one two three"u8.ToArray());
        File.CreateSymbolicLink(folder["a.txt"], blob);
        TokenShards.Write([folder["a.txt"]], folder["out"], tokenizer);
        File.WriteAllText(blob, "one two three four");
        Assert.Throws<ArgumentException>(() => TokenShards.Write([folder["a.txt"]], folder["out"], tokenizer));
    }

    static void MakePipe(string path)
    {
        using var process = System.Diagnostics.Process.Start("mkfifo", [path])!;
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
