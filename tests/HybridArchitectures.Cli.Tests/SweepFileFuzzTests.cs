using System.Text;
using CsCheck;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Fuzz;
using HybridArchitectures.Training.Tests;

namespace HybridArchitectures.Cli.Tests;

public sealed class SweepFileFuzzTests : IDisposable
{
    // values and structures that only YAML has
    static readonly string[] yamlWords =
    [
        "&a ", "*a", "!!int ", "<<: ", "? ", "- ", "|\n", ">-\n", "%YAML 1.2\n", "---\n", "...\n", "\t", "\"\\ud800\"", "\"\\U0010FFFF\"",
        "{a: b}", "[[",
        "'", "\"", "~", ".inf", "0x10", "\u0085", "\u2028", "\ufeff", "#", ": ", "@", "`",
    ];

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_mutated_sweep_in_json_is_read_or_refused_with_its_path() =>
        ReadAll("a.json", Mutation.Many(Encoding.UTF8.GetBytes(SweepFile.Example)));

    [Fact]
    public void A_mutated_sweep_in_yaml_is_read_or_refused_with_its_path()
    {
        byte[] original = Encoding.UTF8.GetBytes(SweepFile.YamlExample);
        var marked = Gen.Select(Mutation.Many(original), Gen.Int[0, original.Length], Gen.OneOf(yamlWords), Insert);
        ReadAll("a.yaml", Gen.OneOf(Mutation.Many(original), marked));
    }

    static byte[] Insert(byte[] bytes, int at, string word)
    {
        at = Math.Min(at, bytes.Length);
        return [.. bytes.AsSpan(0, at), .. Encoding.UTF8.GetBytes(word), .. bytes.AsSpan(at)];
    }

    void ReadAll(string name, Gen<byte[]> mutations)
    {
        string path = folder[name];
        File.WriteAllText(folder["text.txt"], new string('a', 400));
        using var text = TextData.Load(folder["text.txt"], null, 0.5);
        int read = 0, refused = 0;
        mutations.Each(Effort.Choose(500, 20_000), mutated =>
        {
            File.WriteAllBytes(path, mutated);
            SweepFile file;
            try
            {
                file = SweepFile.Read(path);
                read++;
            }
            catch (InvalidDataException refusal)
            {
                Assert.StartsWith(path, refusal.Message);
                refused++;
                return;
            }
            // the errors that the commands report in one line
            try
            {
                _ = file.ToOptions(text);
            }
            catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException)
            {
                Assert.NotEmpty(e.Message);
            }
        });
        Assert.True(read > refused / 20 && refused > read / 20, $"{read} read, {refused} refused: the mutations no longer try both");
    }
}
