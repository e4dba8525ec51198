using HybridArchitectures.Conformance;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

public class ConformanceTests
{
    internal static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Cases", "conformance");

    static readonly string Root = Path.Combine(AppContext.BaseDirectory, "Cases");

    public static TheoryData<string> Cases => [.. ConformanceRunner.Find(Root).Select(path => Path.GetRelativePath(Root, path))];

    [Theory, MemberData(nameof(Cases))]
    public void A_case_gives_the_recorded_outputs(string name)
    {
        var results = ConformanceRunner.Run(Path.Combine(Root, name));
        Assert.True(results.Count >= 8, $"only {results.Count} kinds ran: {string.Join(", ", results.Select(result => result.Kind))}");
        Assert.All(results, result => Assert.True(result.Passes, $"{result} {result.Message}"));
    }

    [Fact]
    public void Every_family_has_a_case() =>
        Assert.Equal(HybridArchitectures.Checkpoints.PretrainedFamily.All.Select(family => family.ModelType),
            ConformanceRunner.Find(Folder).Where(ConformanceCase.Is)
            .Select(path => HybridArchitectures.Checkpoints.PretrainedConfig.Read(Path.Combine(path, "config.json")).ModelType)
                .Distinct().Order(StringComparer.Ordinal));

    [Fact]
    public void Checkpoints_of_cases_keep_what_generation_leans_on()
    {
        var results = ConformanceVerification.Run(Path.Combine(Folder, "qwen3_next"), CPU).ToArray();
        Assert.Equal(Enum.GetNames<HybridArchitectures.Verification.Invariance>(), results.Select(result => result.Kind));
        Assert.All(results, result => Assert.True(result.Passes, $"{result} {result.Message}"));
    }

    [Fact]
    public void Trajectories_balance_losses_samplers_and_tokenizers_are_among_the_cases() => Assert.Equal(
        ["astral", "falcon", "gpt_neox", "granite", "moe_aux", "nemotron", "neox", "qwen", "removed", "samplers", "strips", "tokenizer",
            "trajectory"],
        ConformanceRunner.Find(Root).Where(path => !ConformanceCase.Is(path)).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));

    [Fact]
    public void A_folder_of_a_kind_unknown_or_damaged_is_a_failure()
    {
        using var place = new TemporaryFolder();
        File.WriteAllText(place["notes.json"], "{}");
        Assert.Equal([place.Path], ConformanceRunner.Find(place.Path));
        var one = Assert.Single(ConformanceRunner.Run(place.Path));
        Assert.False(one.Passes);
        Assert.Contains("is recorded here", one.Message);
        foreach (string file in Directory.GetFiles(Path.Combine(Folder, "mamba"))) File.Copy(file, place[Path.GetFileName(file)], overwrite: true);
        File.WriteAllText(place["config.json"], File.ReadAllText(place["config.json"]).Replace("\"time_step_rank\": 5", "\"time_step_rank\": 6"));
        Assert.False(Assert.Single(ConformanceRunner.Run(place.Path)).Passes);
    }

    [Fact]
    public void An_error_beyond_the_tolerance_or_not_a_number_fails()
    {
        Assert.True(new ConformanceResult("case", "kind", 1e-5, 1e-5).Passes);
        Assert.False(new ConformanceResult("case", "kind", 1.1e-5, 1e-5).Passes);
        Assert.False(new ConformanceResult("case", "kind", double.NaN, 1e-5).Passes);
        Assert.False(new ConformanceResult("case", "kind", 0, 1e-5, "could not run").Passes);
    }
}
