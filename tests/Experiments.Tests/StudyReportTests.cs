using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments.Tests;

public sealed class StudyReportTests : IDisposable
{
    const string ScalingPicture = "scaling-training-flops.svg";

    static readonly string[] OneSize = ["attention", "attention, Muon", "attention, context x 0.5", "attention, context x 2"],
        OtherSizes = ["attention, width 384", "attention, width 512"];

    readonly string folder = Directory.CreateTempSubdirectory("hybrid-study-").FullName;

    static string Experiments => Path.Combine(Repository.Root, "lab", "experiments");

    [Fact]
    public void Scaling_laws_are_fitted_over_sizes_and_not_over_optimizers_and_training_lengths()
    {
        var results = SweepResult.ReadFile(Path.Combine(Experiments, "results", "runs.jsonl"));
        var chosen = new SweepResult([.. results.Runs.Where(run => OneSize.Concat(OtherSizes).Contains(run.Settings.Name))], true);
        var size = new StudySize();
        new StudyReport(size, new Catalogue(size, vocabularySize: 8192), chosen, []).Write(folder);

        Assert.True(File.Exists(Path.Combine(folder, "scaling", ScalingPicture)));
        Assert.True(File.Exists(Path.Combine(folder, "next", "index.html")));
        Assert.False(File.Exists(Path.Combine(folder, "next", ScalingPicture)));
    }

    [Fact]
    public void Every_finding_names_designs_of_its_experiment_and_is_tested_with_the_committed_results()
    {
        var size = new StudySize();
        var tested = TestedFinding.Test(Path.Combine(Experiments, "findings.json"), size, new Catalogue(size, vocabularySize: 8192),
            SweepResult.ReadFile(Path.Combine(Experiments, "results", "runs.jsonl")));
        Assert.Empty(tested.Where(item => item.Verdict == Verdict.Missing).Select(item => item.Finding.Id));
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);
}
