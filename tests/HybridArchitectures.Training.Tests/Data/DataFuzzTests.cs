using CsCheck;
using HybridArchitectures.Fuzz;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Data;
using HybridArchitectures.Training.Tests.Running;

namespace HybridArchitectures.Training.Tests;

public sealed class DataFuzzTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_mutated_shard_is_refused_by_name_or_holds_ids_of_its_vocabulary()
    {
        string path = folder["tokens.safetensors"];
        using (var data = TokenDataset.FromDocuments(
            [new("a", "some words"), new("b", ""), new("c", "and more of them")], new ByteTokenizer(endOfText: true), endOfText: true)) data.Save(
            path);
        byte[] original = File.ReadAllBytes(path);
        int opened = 0, refused = 0;
        // the whole file, and as often its head alone
        Gen.Frequency((1, Mutation.Many(original)),
            (1, Mutation.Many(original[..(8 + (int)BitConverter.ToInt64(original))])
            .Select(head => (byte[])[.. head, .. original.AsSpan(8 + (int)BitConverter.ToInt64(original))])))
            .Each(Effort.Choose(1_000, 100_000), mutated =>
            {
                File.WriteAllBytes(path, mutated);
                try
                {
                    using var data = TokenDataset.Open(path);
                    var ids = new long[data.Count];
                    data.CopyTo(0, ids);
                    Assert.All(ids, id => Assert.InRange(id, 0, data.VocabularySize - 1));
                    var documents = new long[data.Count];
                    data.CopyDocumentsTo(0, documents);
                    Assert.Equal(documents.Order(), documents);
                    opened++;
                }
                catch (InvalidDataException refusal)
                {
                    Assert.StartsWith(path, refusal.Message);
                    refused++;
                }
            });
        Assert.True(opened > refused / 50 && refused > opened / 20, $"{opened} opened, {refused} refused: the mutations no longer try both");
    }

    [Fact]
    public void A_mutated_plan_of_shards_is_refused_by_name_or_opens_the_shards_it_names()
    {
        string text = folder["text.txt"], shards = folder["shards"];
        File.WriteAllText(text, "some words and more of them");
        TokenShards.Write([text], shards, new ByteTokenizer());
        string plan = Directory.GetFiles(shards, "*.json").Single();
        byte[] original = File.ReadAllBytes(plan);
        int opened = 0, refused = 0;
        Mutation.Many(original).Each(Effort.Choose(1_000, 100_000), mutated =>
        {
            File.WriteAllBytes(plan, mutated);
            try
            {
                using var data = TokenShards.Open(shards);
                Assert.Equal(27, data.Count);
                opened++;
            }
            catch (InvalidDataException refusal)
            {
                Assert.Contains(shards, refusal.Message);
                refused++;
            }
        });
        Assert.True(opened > 0 && refused > opened / 20, $"{opened} opened, {refused} refused: the mutations no longer try both");
    }

    [Theory]
    [InlineData("a.parquet")]
    [InlineData("a.jsonl.zst")]
    [InlineData("a.jsonl.gz")]
    [InlineData("tiny.jsonl.gz")]
    [InlineData("a.jsonl")]
    [InlineData("a.json")]
    public async Task A_mutated_file_of_documents_is_refused_by_name_or_read_within_bounds(string name)
    {
        string[] texts = SampleFiles.Texts(30);
        var lines = name.StartsWith("tiny", StringComparison.Ordinal) ? "x"u8.ToArray() : SampleFiles.JsonLines(texts);
        string path = folder[name];
        if (name.EndsWith(".parquet", StringComparison.Ordinal)) await SampleFiles.Parquet(path, texts, rowsAGroup: 20);
        else File.WriteAllBytes(path, name.EndsWith(".zst") ? SampleFiles.Zstd(lines) : name.EndsWith(".gz") ? SampleFiles.Gzip(lines) : lines);
        byte[] original = File.ReadAllBytes(path);
        int read = 0, refused = 0;
        Mutation.Many(original).Each(Effort.Choose(1_500, 100_000), mutated =>
        {
            File.WriteAllBytes(path, mutated);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                Assert.InRange(new DocumentFile(path).Read().Count(), 0, 100_000);
                read++;
            }
            catch (InvalidDataException refusal)
            {
                Assert.StartsWith(path, refusal.Message);
                refused++;
            }
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 16 << 20);
        });
        Assert.True(refused > read / 50, $"{read} read, {refused} refused: the mutations no longer try both");
    }

    [Fact]
    public void Mutated_settings_of_a_checkpoint_are_refused_by_name_or_resume()
    {
        string run = folder["run"];
        using var training = Small.Data();
        using (var model = Small.Model())
        using (var trainer = new Trainer(model, training, Small.Options with { Duration = Duration.Steps(1), Folder = run })) trainer.Run();
        string[] settings = [.. Directory.GetFiles(run, "*.json", SearchOption.AllDirectories)];
        Assert.NotEmpty(settings);
        int resumed = 0, refused = 0;
        foreach (string path in settings)
        {
            byte[] original = File.ReadAllBytes(path);
            Mutation.Many(original).Each(Effort.Choose(60, 2_000), mutated =>
            {
                File.WriteAllBytes(path, mutated);
                try
                {
                    using var trainer = Trainer.Resume(run, training);
                    using var model = trainer.Model;
                    resumed++;
                }
                catch (Exception refusal) when (refusal is InvalidDataException or ArgumentException or FileNotFoundException)
                {
                    // a changed name of a file of the checkpoint is that of a missing file
                    if (refusal is FileNotFoundException) Assert.Contains(run, refusal.Message, StringComparison.Ordinal);
                    Assert.True(refusal.Message.Length > 20, refusal.Message);
                    refused++;
                }
            });
            File.WriteAllBytes(path, original);
        }
        // a changed checkpoint is known by its checksums, wherever it is changed
        Assert.True(refused > 50 * resumed, $"{resumed} resumed, {refused} refused");
        using (var trainer = Trainer.Resume(run, training)) trainer.Model.Dispose();
    }
}
