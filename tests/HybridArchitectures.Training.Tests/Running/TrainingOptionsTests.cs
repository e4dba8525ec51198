using System.Reflection;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Training.Tests.Running;

public class TrainingOptionsTests
{
    // a sweep trains again if one of these is changed
    static readonly string[] withEffect =
    [
        "LearningRate", "ContextLength", "BatchSize", "MicroBatchSize", "Duration", "Schedule", "Optimizer", "ClipNorm", "SpikeGuard",
        "SeparateDocuments", "Seed", "EvaluationTokens",
    ];

    static readonly TrainingOptions options = new() { LearningRate = 1, ContextLength = 1, BatchSize = 1, Duration = Duration.Steps(1) };

    /// <summary>A new option fails here: add it above, or to the options that change no result.</summary>
    [Fact]
    public void Every_option_is_known_to_change_the_result_or_not() =>
        Assert.Equal(typeof(TrainingOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance).Select(property => property.Name).Order(),
            withEffect.Concat(options.WithoutEffect).Order());

    [Theory]
    [InlineData(1, 1)]
    [InlineData(8, 1)]
    [InlineData(9, 2)]
    [InlineData(long.MaxValue, long.MaxValue / 8 + 1)]
    public void Tokens_are_rounded_up_to_whole_steps(long tokens, long steps) =>
        Assert.Equal(steps, (options with { ContextLength = 4, BatchSize = 2, Duration = Duration.Tokens(tokens) }).TotalSteps);

    [Fact]
    public void Options_that_take_time_change_the_result_of_a_run_that_time_ends() =>
        Assert.Equal(["Folder", "KeepBest", "KeepEvery", "KeepLast"],
            (options with { Duration = Duration.Time(TimeSpan.FromSeconds(1)) }).WithoutEffect.Order());
}
