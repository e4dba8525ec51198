using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class TextCorpusTests : IDisposable
{
    const string NoText = "the file is empty or not UTF-8 text", NoRecords = "the file has no records with a text";

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void One_file_is_cut_at_a_line_near_its_end()
    {
        var lines = string.Concat(Enumerable.Range(0, 1000).Select(i => $"line {i} ä\n"));
        File.WriteAllText(folder["a.txt"], "\uFEFF" + lines);
        var corpus = TextCorpus.FromPath(folder["a.txt"], 0.1);
        Assert.Equal(lines, Assert.Single(corpus.Training).Text + Assert.Single(corpus.HeldOut).Text);
        Assert.EndsWith("\n", corpus.Training[0].Text);
        Assert.InRange(corpus.HeldOutBytes / (double)(corpus.TrainingBytes + corpus.HeldOutBytes), 0.09, 0.11);
    }

    [Fact]
    public void A_folder_of_many_files_is_split_by_file_and_always_alike()
    {
        Directory.CreateDirectory(folder["sub"]);
        for (int i = 0; i < 60; i++) File.WriteAllText(folder[$"{(i % 2 == 0 ? "sub/" : "")}{i}.md"], new string((char)('a' + i % 26), 1000));
        File.WriteAllBytes(folder["picture.bin"], [1, 0, 2]);
        File.WriteAllBytes(folder["latin1.txt"], [0x61, 0xe4, 0x62]);
        File.WriteAllText(folder["empty.txt"], "");
        var corpus = TextCorpus.FromPath(folder.Path, 0.1);
        Assert.Equal(60, corpus.Training.Count + corpus.HeldOut.Count);
        Assert.InRange(corpus.HeldOut.Count, 5, 9);
        Assert.Empty(corpus.Training.Intersect(corpus.HeldOut));
        Assert.Equal(corpus.HeldOut, TextCorpus.FromPath(folder.Path, 0.1).HeldOut);
        Assert.Contains(corpus.Training, document => document.Name is "sub/0.md" or "sub/2.md");
        Assert.Equal([new("empty.txt", NoText), new("latin1.txt", NoText), new OmittedFile("picture.bin", NoText)], corpus.Omitted);
    }

    [Fact]
    public void Links_are_followed_and_what_several_paths_lead_to_is_read_once()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a privilege on Windows");
        foreach (var name in new[] { "elsewhere/far.txt", "elsewhere/deep/lower.txt", "blobs/5e1f", "data/own.txt", "data/sub/inner.txt" })
        {
            Directory.CreateDirectory(Path.GetDirectoryName(folder[name])!);
            File.WriteAllText(folder[name], $"The text of {name}. " + new string('x', 100));
        }
        Directory.CreateSymbolicLink(folder["blobs/store"], folder["blobs"]);
        File.CreateSymbolicLink(folder["data/a.txt"], "../blobs/store/5e1f");
        File.CreateSymbolicLink(folder["data/again.txt"], folder["data/a.txt"]);
        File.CreateSymbolicLink(folder["data/alias.txt"], "own.txt");
        File.CreateSymbolicLink(folder["data/broken.txt"], "nowhere.txt");
        File.CreateSymbolicLink(folder["data/circle"], "circle");
        Directory.CreateSymbolicLink(folder["data/other"], folder["elsewhere"]);
        Directory.CreateSymbolicLink(folder["elsewhere/back"], folder["data"]);
        Directory.CreateSymbolicLink(folder["data/sub/up"], "..");
        Directory.CreateSymbolicLink(folder["entry"], folder["data"]);
        foreach (var path in new[] { "data", "entry" })
        {
            var corpus = TextCorpus.FromPath(folder[path], 0.3);
            Assert.Equal(["a.txt", "other/deep/lower.txt", "other/far.txt", "own.txt", "sub/inner.txt"],
                corpus.Training.Concat(corpus.HeldOut).Select(document => document.Name).Distinct().Order(StringComparer.Ordinal));
            Assert.Contains("blobs/5e1f", corpus.Training.Concat(corpus.HeldOut).First(document => document.Name == "a.txt").Text);
            const string Twice = "the target of the link is read under another name", Nowhere = "the target of the link does not exist";
            Assert.Equal([new("again.txt", Twice), new("alias.txt", Twice), new("broken.txt", Nowhere), new("circle", Nowhere),
                new("other/back", Twice), new OmittedFile("sub/up", Twice)], corpus.Omitted);
        }
    }

    [Fact]
    public void What_has_no_text_is_refused_by_name()
    {
        Assert.Contains("absent", Assert.Throws<FileNotFoundException>(() => TextCorpus.FromPath(folder["absent"])).Message);
        Directory.CreateDirectory(folder["bare"]);
        Assert.Contains("bare", Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(folder["bare"])).Message);
        File.WriteAllBytes(folder["zeros"], new byte[10]);
        Assert.Contains("zeros", Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(folder["zeros"])).Message);
        File.WriteAllText(folder["empty"], "");
        Assert.Contains("empty", Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(folder["empty"])).Message);
        File.WriteAllText(folder["one"], "x");
        Assert.Contains("too few", Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(folder["one"])).Message);
        File.WriteAllText(folder["some"], "some text");
        foreach (double share in new[] { 0, -1, 0.6, double.NaN })
            Assert.Equal("heldOutShare", Assert.Throws<ArgumentOutOfRangeException>(() => TextCorpus.FromPath(folder["some"], share)).ParamName);
    }

    [Fact]
    public void A_folder_is_read_in_the_order_of_names_with_slashes_and_split_alike_on_every_system()
    {
        foreach (var name in new[] { "six", "b/c/four.txt", "a", "z/nine", "aZ/seven", "b.txt", "b/ten", "a-b/one" })
        {
            var path = folder[name.Replace('/', Path.DirectorySeparatorChar)];
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, new string('x', 100));
        }
        var corpus = TextCorpus.FromPath(folder.Path, 0.3);
        string[] heldOut = [.. corpus.HeldOut.Select(document => document.Name)];
        Assert.Equal(["a", "a-b/one", "aZ/seven", "b.txt", "b/c/four.txt", "b/ten", "six", "z/nine"],
            corpus.Training.Select(document => document.Name).Concat(heldOut).Order(StringComparer.Ordinal));
        Assert.Equal(corpus.Training.Select(document => document.Name).Order(StringComparer.Ordinal),
            corpus.Training.Select(document => document.Name));
        Assert.Equal(["b.txt", "six", "z/nine"], heldOut.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Records_in_a_folder_are_documents_and_other_json_is_left_out()
    {
        string[] Texts(string prefix) => [.. Enumerable.Range(0, 30).Select(i => $"{prefix} {i}")];
        File.WriteAllBytes(folder["a.jsonl"], SampleFiles.JsonLines(Texts("a")));
        File.WriteAllBytes(folder["b.json.gz"], SampleFiles.Gzip(SampleFiles.JsonLines(Texts("b"))));
        await SampleFiles.Parquet(folder["c.parquet"], Texts("c"));
        File.WriteAllText(folder["package.json"], "{\"name\": \"x\"}");
        File.WriteAllBytes(folder["picture.gz"], SampleFiles.Gzip([1, 0, 2]));
        var corpus = TextCorpus.FromPath(folder.Path, 0.1);
        var all = corpus.Training.Concat(corpus.HeldOut).ToDictionary(document => document.Name, document => document.Text);
        Assert.Equal(Texts("a").Concat(Texts("b")).Concat(Texts("c")).Order(), all.Values.Order());
        Assert.Equal("b 2", all["b.json.gz#3"]);
        Assert.Equal([new("package.json", NoRecords), new OmittedFile("picture.gz", NoText)], corpus.Omitted);
        Assert.Equal(30, TextCorpus.FromPath(folder["a.jsonl"], 0.1) is var one ? one.Training.Count + one.HeldOut.Count : 0);
        Assert.Contains("settings.json", Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(Settings())).Message);
        // damage is not left out
        File.AppendAllText(folder["a.jsonl"], "{\"text\": ");
        Assert.Contains("a.jsonl: line", Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(folder.Path)).Message);
        File.WriteAllText(folder["bare/records.txt"], "{\"text\": \"x\"}\n");
        Assert.Contains("records.txt: the first line is a JSON object",
            Assert.Throws<InvalidDataException>(() => TextCorpus.FromPath(folder["bare"])).Message);

        string Settings()
        {
            Directory.CreateDirectory(folder["bare"]);
            File.WriteAllText(folder["bare/settings.json"], "{\"name\": \"x\"}");
            return folder["bare/settings.json"];
        }
    }
}
