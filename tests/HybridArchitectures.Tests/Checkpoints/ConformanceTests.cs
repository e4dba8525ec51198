using HybridArchitectures.Conformance;

namespace HybridArchitectures.Tests.Checkpoints;

public class ConformanceTests
{
    internal static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Cases", "conformance");

    public static TheoryData<string> Cases => [.. ConformanceCase.Find(Folder).Select(path => Path.GetFileName(path))];

    [Theory, MemberData(nameof(Cases))]
    public void A_checkpoint_gives_the_recorded_outputs(string name)
    {
        var results = ConformanceCase.RunAll(Path.Combine(Folder, name));
        Assert.True(results.Count >= 9, $"only {results.Count} kinds ran: {string.Join(", ", results.Select(result => result.Kind))}");
        Assert.All(results, result => Assert.True(result.Passes, $"{result} {result.Message}"));
    }

    [Fact]
    public void Every_family_has_a_case() =>
        Assert.Equal(HybridArchitectures.Checkpoints.PretrainedFamily.All.Select(family => family.ModelType),
            ConformanceCase.Find(Folder).Select(path => HybridArchitectures.Checkpoints.PretrainedConfig.Read(Path.Combine(path, "config.json")).ModelType)
                .Distinct().Order(StringComparer.Ordinal));

    [Fact]
    public void An_error_beyond_the_tolerance_or_not_a_number_fails()
    {
        Assert.True(new ConformanceResult("case", "kind", 1e-5, 1e-5).Passes);
        Assert.False(new ConformanceResult("case", "kind", 1.1e-5, 1e-5).Passes);
        Assert.False(new ConformanceResult("case", "kind", double.NaN, 1e-5).Passes);
        Assert.False(new ConformanceResult("case", "kind", 0, 1e-5, "could not run").Passes);
    }
}
