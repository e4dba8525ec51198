using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Experiments.Tests;

public sealed class CatalogueTests
{
    static readonly StudySize Size = new();

    static readonly Catalogue Catalogue = new(Size, vocabularySize: 8192);

    static IReadOnlyList<ExperimentSize> Sizes
    {
        get
        {
            var known = new HashSet<string>();
            return [.. Catalogue.All.Select(experiment => ExperimentSize.Of(experiment, Size, known))];
        }
    }

    [Fact]
    public void The_committed_runs_are_those_of_the_first_seven_experiments()
    {
        var result = SweepResult.ReadFile(Path.Combine(Repository.Root, "lab", "experiments", "results", "runs.jsonl"));
        Assert.Equal(373, Sizes.Take(7).Sum(size => size.Runs));
        var names = Catalogue.All.Take(7).SelectMany(experiment => experiment.Names).ToHashSet();
        Assert.Equal(names.Order(StringComparer.Ordinal), result.Designs.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("tokens", 15)]
    [InlineData("wide-rates", 2)]
    public void Later_experiments_use_committed_runs_with_the_same_design_rate_and_schedule(string name, int expected)
    {
        var result = SweepResult.ReadFile(Path.Combine(Repository.Root, "lab", "experiments", "results", "runs.jsonl"));
        var rates = new LearningRates(LearningRates.Select(result), Size.Width);
        var experiment = Catalogue.All.Single(item => item.Name == name);
        var part = experiment.Parts.Where(part => part is { Tokens: 1, Rate: 1 }).ToArray();
        var pairs = (from design in part.SelectMany(part => part.Designs)
                     from run in result.Runs
                     where run.Settings.Name == design.Name && experiment.SeedsOf(Size).Contains(run.Settings.Seed)
                     select (design, run.Settings)).ToArray();
        Assert.Equal(expected, pairs.Length);
        foreach (var (design, settings) in pairs)
        {
            Assert.Equal(settings.Design.ToJson(), design.Design.ToJson());
            Assert.Equal(settings.LearningRate, rates.For(design));
            var options = StudyTraining.Options(settings.LearningRate, Size.ContextLength, Size.TokensPerStep, Size.Steps);
            Assert.Contains($"Duration = {options.Duration}, Schedule = {options.Schedule}", settings.Options);
        }
    }

    [Fact]
    public void Runs_with_more_tokens_have_the_rates_of_the_base_run_until_it_cools_down()
    {
        TrainingOptions Options(int times) => StudyTraining.Options(1e-3, Size.ContextLength, Size.TokensPerStep, Size.Steps, times);
        double Factor(int times, int step) =>
            Options(times).Schedule.Factor((double)step / (times * Size.Steps), 1.0 / (times * Size.Steps));
        foreach (int times in (int[])[2, 4])
        {
            Assert.All(Enumerable.Range(0, 961), step => Assert.Equal(Factor(1, step), Factor(times, step)));
            Assert.True(Factor(1, 961) < 1);
            // a report, where the trunk can stop, is at the cool-down of each
            Assert.Equal(0, 960 * times % Options(times).ReportEvery);
        }
    }

    [Fact]
    public void The_list_counts_shared_steps_once()
    {
        var tokens = Sizes.Single(size => size.Name == Catalogue.TokensName);
        // five designs and three seeds: four times the tokens, and the cool-down of twice the tokens
        Assert.Equal(30, tokens.Runs);
        Assert.Equal(5 * 3 * (4 + 0.2 * 2) * Size.Steps * Size.TokensPerStep, tokens.Tokens, 1.0);
        var wide = Sizes.Single(size => size.Name == "wide-rates");
        Assert.Equal(4, wide.Runs);
        Assert.All(Sizes, size => Assert.Contains($" {size.Runs} runs ", size.ToString()));
    }
}
