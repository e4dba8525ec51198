using System.Diagnostics;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class TokenShardsTests : IDisposable
{
    static readonly string Program = Path.GetFullPath(
        Path.Combine(AppContext.BaseDirectory, "../../../../KilledRun/bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0",
        "KilledRun.dll"));

    readonly TemporaryFolder folder = new();
    readonly ByteTokenizer tokenizer = new(endOfText: true);
    readonly List<string> texts = [];
    readonly List<string> files = [];

    static ShardingOptions Options => new() { EndOfText = true, TokensPerShard = 700, Workers = 2 };

    public TokenShardsTests()
    {
        Directory.CreateDirectory(folder["in"]);
        for (int i = 0; i < 4; i++)
        {
            var part = i == 2 ? [] : SampleFiles.Texts(60 + i, seed: i);        // one file has no text
            texts.AddRange(part);
            var lines = SampleFiles.JsonLines(part);
            files.Add(folder[$"in/{i}.jsonl{(i == 1 ? ".zst" : i == 3 ? ".gz" : "")}"]);
            File.WriteAllBytes(files[i], i == 1 ? SampleFiles.Zstd(lines) : i == 3 ? SampleFiles.Gzip(lines) : lines);
        }
    }

    public void Dispose() => folder.Dispose();

    sealed class Told(Action<ShardingProgress> act) : IProgress<ShardingProgress>
    {
        public void Report(ShardingProgress value) => act(value);
    }

    Dictionary<string, byte[]> Files(string name) => Directory.GetFiles(folder[name]).ToDictionary(path => Path.GetFileName(path), File.ReadAllBytes);

    void AssertSame(string expected, string actual)
    {
        var (a, b) = (Files(expected), Files(actual));
        Assert.Equal(a.Keys.Order(), b.Keys.Order());
        foreach (var (name, bytes) in a) Assert.True(bytes.AsSpan().SequenceEqual(b[name]), $"{name} differs");
    }

    [Fact]
    public void Shards_hold_all_documents_in_the_order_of_the_files()
    {
        ShardingProgress? last = null;
        TokenShards.Write(files, folder["out"], tokenizer, Options, new Told(report => last = report));
        using var data = TokenShards.Open(folder["out"]);
        var expected = TokenDataset.FromDocuments(texts.Select(text => new TextDocument("", text)), tokenizer, endOfText: true);
        Assert.Equal((expected.Count, expected.VocabularySize, expected.Fingerprint), (data.Count, data.VocabularySize, data.Fingerprint));
        Assert.Equal(expected.DocumentStarts, data.DocumentStarts);
        var (all, same) = (new long[data.Count], new long[data.Count]);
        data.CopyTo(0, all);
        expected.CopyTo(0, same);
        Assert.Equal(same, all);
        Assert.Equal(texts.Sum(text => System.Text.Encoding.UTF8.GetByteCount(text)), data.CountBytes(all));
        Assert.Equal(new ShardingProgress(4, 4, last!.TotalBytes, files.Sum(file => new FileInfo(file).Length), texts.Count, data.Count), last);
        Assert.True(Directory.GetFiles(folder["out"], "00000-*").Length > 2, "no second shard");
        // across the border of shards, and saved again as one
        for (long start = 0; start + 50 < data.Count; start += 37)
        {
            var part = new long[50];
            data.CopyTo(start, part);
            Assert.Equal(all[(int)start..(int)(start + 50)], part);
        }
        data.Save(folder["joined.safetensors"]);
        using var joined = TokenDataset.Open(folder["joined.safetensors"]);
        Assert.Equal(data.Fingerprint, joined.Fingerprint);
    }

    [Fact]
    public void Cancelled_work_continues_and_ends_the_same()
    {
        TokenShards.Write(files, folder["straight"], tokenizer, Options);
        foreach (long documents in new[] { 1, 30, 40, 20 })
        {
            using var source = new CancellationTokenSource();
            var counting = new CancellingTokenizer(documents, source);
            Assert.ThrowsAny<OperationCanceledException>(
                () => TokenShards.Write(files, folder["out"], counting, Options, cancellation: source.Token));
            Assert.Throws<InvalidDataException>(() => TokenShards.Open(folder["out"]));
        }
        File.WriteAllBytes(folder["out/.00003-0001.safetensors.0123456789abcdef0123456789abcdef.new"], new byte[10]);
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        AssertSame("straight", "out");
        var before = Directory.GetLastWriteTimeUtc(folder["out"]);
        TokenShards.Write(files, folder["out"], tokenizer, Options);       // nothing is left to do
        Assert.Equal(before, Directory.GetLastWriteTimeUtc(folder["out"]));
    }

    [Fact]
    public async Task A_killed_process_continues_and_ends_the_same()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() || OperatingSystem.IsMacOS(), "exit codes of killed processes are those of Unix");
        TokenShards.Write(files, folder["straight"], tokenizer, Options);
        var random = new Random(5);
        int kills = 0, wanted = Effort.Choose(everyday: 2, full: 20);
        for (int run = 0; kills < wanted; run++)
            for (bool finished = false; !finished;)
            {
                string killAt = $"{(kills < wanted ? random.Next(1, 60) : 0)}";
                var start = new ProcessStartInfo("dotnet", [Program, "shards", folder[$"out{run}"], killAt, .. files])
                {
                    RedirectStandardError = true,
                };
                using var process = Process.Start(start)!;
                var said = await process.StandardError.ReadToEndAsync();
                await process.WaitForExitAsync();
                finished = process.ExitCode == 0;
                Assert.True(finished || process.ExitCode == 137, said);
                if (finished) AssertSame("straight", $"out{run}");
                else kills++;
            }
    }

    sealed class CancellingTokenizer(long documents, CancellationTokenSource source) : Tokenizer(
        257, [new AddedToken(256, ByteTokenizer.EndOfTextText, true)])
    {
        readonly ByteTokenizer inner = new(endOfText: true);
        long left = documents;

        public override int? BeginOfText => null;

        public override int? EndOfText => 256;

        public override int? Padding => null;

        protected override void EncodePlain(string text, List<int> ids)
        {
            ids.AddRange(inner.Encode(text));
            if (text.StartsWith("Document") && Interlocked.Decrement(ref left) == 0) source.Cancel();
        }

        protected override ReadOnlySpan<byte> PlainBytes(int id) => inner.Bytes(id);
    }

    [Fact]
    public void Other_files_tokenizers_and_options_are_refused_in_a_folder_that_is_begun()
    {
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        string Refused(IReadOnlyList<string> names, Tokenizer by, ShardingOptions options) =>
            Assert.Throws<ArgumentException>("folder", () => TokenShards.Write(names, folder["out"], by, options)).Message;
        Assert.Contains("number of files (4)", Refused(files[..3], tokenizer, Options));
        Assert.Contains("'" + files[1], Refused([files[1], files[0], files[2], files[3]], tokenizer, Options));
        Assert.Contains("the tokenizer", Refused(files, new ByteTokenizer(endOfText: true, padding: true), Options));
        Assert.Contains("size of shards (700)", Refused(files, tokenizer, Options with { TokensPerShard = 9 }));
        Assert.Contains("between documents", Refused(files, tokenizer, Options with { EndOfText = false }));
        File.AppendAllText(files[0], "{\"text\": \"more\"}\n");
        Assert.Contains("'" + files[0], Refused(files, tokenizer, Options));
        Assert.Throws<ArgumentException>("files", () => TokenShards.Write([], folder["new"], tokenizer));
        Assert.Throws<ArgumentException>(
            "options", () => TokenShards.Write(files, folder["new"], tokenizer, new ShardingOptions { BeginOfText = true }));
    }

    [Fact]
    public void A_damaged_file_is_named_and_the_others_shards_stay()
    {
        File.WriteAllBytes(files[1], File.ReadAllBytes(files[1])[..^20]);
        Assert.Contains(files[1], Assert.Throws<InvalidDataException>(
            () => TokenShards.Write(files, folder["out"], tokenizer, Options with { Workers = 1 })).Message);
        Assert.True(File.Exists(folder["out/00000-0000.safetensors"]));
        Assert.Contains(files[1], Assert.Throws<InvalidDataException>(() => TokenShards.Open(folder["out"])).Message);
    }

    [Fact]
    public void Corrupt_shards_are_named_with_their_position()
    {
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        var path = folder["out/00001-0001.safetensors"];
        var good = File.ReadAllBytes(path);
        foreach (int length in new[] { good.Length - 1, 100, 4 })
        {
            File.WriteAllBytes(path, good[..length]);
            Refused(path, Open);
        }
        File.Delete(path);
        Assert.Contains(files[1], Assert.Throws<InvalidDataException>(Open).Message);
    }

    [Fact]
    public void A_token_beyond_the_vocabulary_is_named_with_its_offset_when_it_is_read()
    {
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        var path = folder["out/00001-0001.safetensors"];
        long offset;
        using (var shard = SafetensorsFile.Open(path)) offset = shard["tokens"].Offset;
        var bad = File.ReadAllBytes(path);
        bad[offset + 20] = bad[offset + 21] = 0xff;
        File.WriteAllBytes(path, bad);
        using var data = TokenShards.Open(folder["out"]);
        string message = Refused(path, () => data.CopyTo(0, new long[data.Count]));
        Assert.Contains($"token 10, at offset {offset + 20}, is 65535; expected 0 to 256", message);
    }

    [Fact]
    public void Tokens_too_narrow_for_the_vocabulary_or_of_unknown_sign_are_refused()
    {
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        var path = folder["out/00001-0001.safetensors"];
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>
        {
            ["tokens"] = zeros(5, ScalarType.Int16), ["document_starts"] = zeros(1, ScalarType.Int64),
        };
        var notes = new Dictionary<string, string>
        {
            ["vocabulary_size"] = "128256", ["tokens_unsigned_16_bit"] = "true", ["documents"] = "1", ["last_of_file"] = "false",
        };
        SafetensorsFile.Write(path, tensors, notes);
        Assert.Contains("for a vocabulary of 128256", Refused(path, Open));
        (notes["vocabulary_size"], notes["tokens_unsigned_16_bit"]) = ("257", "false");
        SafetensorsFile.Write(path, tensors, notes);
        Assert.Contains("signed 16-bit", Refused(path, Open));
    }

    void Open() => TokenShards.Open(folder["out"]).Dispose();

    // asserts that the message names the file, and returns it
    static string Refused(string path, Action act)
    {
        var message = Assert.Throws<InvalidDataException>(act).Message;
        Assert.Contains(path, message);
        return message;
    }

    [Fact]
    public void Replaced_characters_are_reported_those_of_earlier_runs_too()
    {
        var lines = string.Concat(Enumerable.Range(0, 60)
            .Select(i =>
            $"{{\"text\": \"Document {i} {(i % 10 == 0 ? "\\ud800" : "")} of some length, so that there are shards\", \"score\": NaN}}\n"));
        string[] one = [folder["in/half.jsonl"]];
        File.WriteAllText(one[0], lines);
        Assert.Equal(6, TokenShards.Write(one, folder["straight"], tokenizer, Options).ReplacedCharacters);
        using var source = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(
            () => TokenShards.Write(one, folder["out"], new CancellingTokenizer(35, source), Options, cancellation: source.Token));
        Assert.True(File.Exists(folder["out/00000-0000.safetensors"]));
        for (int run = 0; run < 2; run++)
        {
            var progress = TokenShards.Write(one, folder["out"], tokenizer, Options);
            Assert.Equal((6, 60), (progress.ReplacedCharacters, progress.Documents));
        }
        AssertSame("straight", "out");
    }

    [Fact]
    public void A_second_writer_is_refused_while_the_first_writes()
    {
        Exception? refusal = null;
        var progress = new Told(_ => refusal ??= Record.Exception(() => TokenShards.Write(files, folder["out"], tokenizer, Options)));
        TokenShards.Write(files, folder["out"], tokenizer, Options, progress);
        Assert.Contains("expected no other Write in the folder", Assert.IsType<IOException>(refusal).Message.Replace("TokenShards.", ""));
        TokenShards.Write(files, folder["out"], tokenizer, Options);
    }

    [Fact]
    public void A_plan_of_an_earlier_version_is_read_and_a_byte_order_mark_too()
    {
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        var path = folder["out/shards.json"];
        var plan = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        Assert.True(plan.Remove("layout") && plan.Remove("maxDocumentBytes"));
        File.WriteAllText(path, plan.ToJsonString(), new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: true));
        TokenShards.Write(files, folder["out"], tokenizer, Options);
        using var data = TokenShards.Open(folder["out"]);
        Assert.True(data.Count > 0);
        Assert.Contains("size of documents (268435456)",
            Assert.Throws<ArgumentException>(
            () => TokenShards.Write(files, folder["out"], tokenizer, Options with { MaxDocumentBytes = 1 << 20 })).Message);
        Assert.Contains("layout of files (Automatic)",
            Assert.Throws<ArgumentException>(
            () => TokenShards.Write(files, folder["out"], tokenizer, Options with { Layout = DocumentLayout.JsonLines })).Message);
    }
}
