using CsCheck;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Fuzz;
using HybridArchitectures.Tests.Checkpoints;

namespace HybridArchitectures.Tests.Fuzz;

public class PretrainedFolderFuzzTests
{
    static readonly string[] cases =
        [.. Directory.GetDirectories(ConformanceTests.Folder).Where(path => File.Exists(Path.Combine(path, "config.json")))
        .Order(StringComparer.Ordinal)];

    [Fact]
    public void A_mutated_configuration_is_refused_with_its_position_or_read_as_a_valid_design()
    {
        using var folder = new TemporaryFolder();
        string path = folder["config.json"];
        byte[][] originals = [.. cases.Select(one => File.ReadAllBytes(Path.Combine(one, "config.json")))];
        int read = 0, refused = 0;
        Gen.OneOf(originals).SelectMany(Mutation.Many).Each(Effort.Choose(3_000, 100_000), mutated =>
        {
            File.WriteAllBytes(path, mutated);
            try
            {
                var design = PretrainedModel.LoadDesign(folder.Path);
                Assert.True(design.CountParameters().Total > 0);
                read++;
            }
            catch (InvalidDataException refusal)
            {
                Assert.Contains(path, refusal.Message);
                refused++;
            }
        });
        // a byte changed in the name of a setting makes an unknown setting, which is refused: few mutations can be read
        Assert.True(read > refused / 60 && refused > read / 20, $"{read} read, {refused} refused: the mutations no longer try both");
    }

    [Fact]
    public void A_mutated_index_or_shard_never_loads_as_another_model()
    {
        string source = Path.Combine(ConformanceTests.Folder, "llama", "sharded_bf16");
        using var folder = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(source)) File.Copy(file, folder[Path.GetFileName(file)]);
        string config = folder["config.json"];
        if (!File.Exists(config)) File.Copy(Path.Combine(ConformanceTests.Folder, "llama", "config.json"), config);
        using var original = PretrainedModel.Load(folder.Path);
        long expected = original.Design.CountParameters().Total;
        string[] damaged = [.. Directory.GetFiles(folder.Path).Where(file => file != config)];
        Assert.True(damaged.Length >= 3, "an index and two shards");
        foreach (string path in damaged)
        {
            byte[] bytes = File.ReadAllBytes(path);
            // the head of a shard and the index: damage inside the numbers of a tensor is another number, and no reader can tell
            byte[] head = path.EndsWith(".safetensors", StringComparison.Ordinal) ? bytes[..(8 + (int)BitConverter.ToInt64(bytes))] : bytes;
            byte[] rest = bytes[head.Length..];
            Mutation.Many(head).Each(Effort.Choose(150, 20_000), mutated =>
            {
                File.WriteAllBytes(path, [.. mutated, .. rest]);
                try
                {
                    using var model = PretrainedModel.Load(folder.Path);
                    Assert.Equal(expected, model.Design.CountParameters().Total);
                }
                catch (InvalidDataException refusal)
                {
                    Assert.Contains(folder.Path, refusal.Message);
                }
            });
            File.WriteAllBytes(path, bytes);
        }
        using var again = PretrainedModel.Load(folder.Path);
        foreach (var (name, value) in original.State) Assert.True(value.equal(again.State[name]).all().item<bool>(), name);
    }
}
