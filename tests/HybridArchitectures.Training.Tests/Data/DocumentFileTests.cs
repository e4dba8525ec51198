using System.Text;

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
            Write("a.jsonl", lines), Write("b.ndjson", [0xef, 0xbb, 0xbf, .. lines[..^1]]), Write("c.jsonl.gz", SampleFiles.Gzip(lines)), Write("d.JSONL.ZST", SampleFiles.Zstd(lines)),
            Write("two.jsonl.gz", [.. SampleFiles.Gzip(lines[..1000]), .. SampleFiles.Gzip(lines[1000..])]), Write("two.jsonl.zst", [.. SampleFiles.Zstd(lines[..1000]), .. SampleFiles.Zstd(lines[1000..])]),
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
    public void Bad_lines_are_named_with_their_place()
    {
        var good = SampleFiles.JsonLines(["one"]);
        Assert.Contains($"line 2, at offset {good.Length}", Refused(Write("a.jsonl", [.. good, .. "{\"url\": 1}\n"u8])));
        Assert.Contains("no property 'text'", Refused(folder["a.jsonl"]));
        Assert.Contains($"line 2, at offset {good.Length + 10}", Refused(Write("b.jsonl", [.. good, .. "{\"text\": 1}\n"u8])));
        foreach (var bad in new[] { "[1]", "{\"text\": \"x\"", "{\"text\": \"x\"} 2", "{\"text\": \"\\ud800\"}", "text", "{\"text\": tru}" })
            Assert.Contains("line 2", Refused(Write("c.jsonl", [.. good, .. Encoding.UTF8.GetBytes(bad)])));
        Assert.Contains("line 1", Refused(Write("d.jsonl", [.. "{\"text\": \""u8, 0xff, 0xfe, .. "\"}"u8])));
        Assert.Contains("at offset 3", Refused(Write("e.txt", [97, 98, 99, 0xff])));
        Assert.Contains("zero byte at offset 1", Refused(Write("f.txt", [97, 0, 99])));
        Assert.Throws<FileNotFoundException>(() => new DocumentFile(folder["absent.txt"]));
    }

    [Fact]
    public async Task Damaged_and_truncated_files_are_named_with_their_place()
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
}
