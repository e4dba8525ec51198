namespace HybridArchitectures.Training.Tests.Data;

public sealed class TextCorpusTests : IDisposable
{
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
        Assert.Contains(corpus.Training, document => document.Name == Path.Combine("sub", "0.md") || document.Name == Path.Combine("sub", "2.md"));
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
}
