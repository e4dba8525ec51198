using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Training.Tests;
using static HybridArchitectures.Cli.Tests.CommandLine;

namespace HybridArchitectures.Cli.Tests;

/// <summary>Tests that errors contain the names that a user typed.</summary>
public sealed class FlagErrorsTests : IDisposable
{
    const string Small = "MT:width=16,vocabulary=256,heads=2,state=4,head=8,feed=16";

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    string TrainError(params string[] flags) => Fails(["train", Small, "--data", SmallText(folder), "--folder", folder["run"], .. flags]);

    [Theory]
    [InlineData("--steps", "abc", "a whole number"), InlineData("--batch", "1.5", "a whole number")]
    [InlineData("--batch", "99999999999", "a whole number of at most 2147483647")]
    [InlineData("--seed", "-99999999999999999999", "a whole number of at least -9223372036854775808")]
    [InlineData("--learning-rate", "fast", "a number with a decimal point, such as 0.5")]
    [InlineData("--seconds", "1 h", "a number with a decimal point, such as 0.5")]
    [InlineData("--strategy", "none", "one of Replicated, ShardedOptimizer, FullySharded, Hybrid")]
    public void A_value_that_cannot_be_read_is_named_with_the_kind_expected(string flag, string value, string expected) =>
        Assert.Equal($"{flag} is '{value}'; expected {expected}. See 'hybrid train --help'.", TrainError(flag, value).Trim());

    [Theory]
    [InlineData("--learning-rate", "-1"), InlineData("--checkpoint-every", "-1"), InlineData("--micro-batch", "-1"), InlineData("--batch", "0")]
    [InlineData("--context", "0")]
    public void A_value_out_of_range_is_named_by_the_flag_of_training(string flag, string value) =>
        Assert.StartsWith($"{flag} is {value}; expected", TrainError("--steps", "2", flag, value));

    [Theory]
    [InlineData("bench", "--batch", "0", "at least 1 row.")]
    [InlineData("bench", "--total-length", "12", "513 (above the prompt) to 16777216 tokens.")]
    [InlineData("bench", "--prompt-length", "2147483647", "1 to 16777215 tokens."), InlineData("cost", "--context", "0", "at least 1.")]
    [InlineData("review", "--max-length", "-1", "at least 0.")]
    public void A_value_out_of_range_is_named_by_the_flag_of_a_design(string command, string flag, string value, string expected) =>
        Assert.Equal($"{flag} is {value}; expected {expected}", Fails(command, Small, flag, value).Trim());

    [Fact]
    public void Cost_prints_nothing_before_the_refusal_of_an_option()
    {
        var (_, output, error) = Run("cost", Small, "--ranks", "2", "--flops", "0");
        Assert.Equal(("", "--flops is 0; expected a finite number above 0."), (output, error.Trim()));
    }

    [Fact]
    public void Lengths_of_measurements_are_named_by_their_flags()
    {
        Succeeds("train", Small, "--data", SmallText(folder), "--folder", folder["run"], "--steps", "1", "--context", "16", "--batch", "1");
        string Error(string task, params string[] flags) => Fails(["eval", folder["run"], "--task", task, .. flags]).Trim();
        Assert.Equal("--context is 2147483647; expected 1 to 16777184 for the task 'inference'.", Error("inference", "--context", "2147483647"));
        Assert.StartsWith("--lengths is 3; expected at least ", Error("passkey", "--lengths", "3"));
        Assert.StartsWith("--lengths is 0; expected at least 1 token", Error("passkey", "--lengths", "300", "0"));
        Assert.StartsWith("--trials is 0; expected at least 1", Error("inside", "--trials", "0"));
        Assert.StartsWith("--task is 'x'; expected one of", Error("x"));
    }

    [Fact]
    public void A_sweep_names_the_keys_of_its_file()
    {
        string Error(string key, string value)
        {
            File.WriteAllText(folder["sweep.json"], $$"""
                { "folder": {{System.Text.Json.JsonSerializer.Serialize(folder["sweep"])}}, "designs": [ { "name": "a", "design": "{{Small}}" } ],
                  "data": {{System.Text.Json.JsonSerializer.Serialize(SmallText(folder))}}, "steps": 2, "{{key}}": {{value}} }
                """);
            return Fails("sweep", folder["sweep.json"]).Trim();
        }
        Assert.Equal("learningRate is -1; expected a finite number above 0.", Error("learningRate", "-1"));
        Assert.Equal("batchSize is 0; expected at least 1 row.", Error("batchSize", "0"));
        Assert.Equal("seeds has 0 values; expected at least 1 seed.", Error("seeds", "[]"));
    }

    [Fact]
    public void Messages_without_a_flag_stay_as_they_are()
    {
        foreach (string message in new[] { "Width is 0; expected 1.", "no file 'LearningRate is'", "", "a LearningRate is 1" })
            Assert.Equal(message, FlagErrors.Rename(message, setting => setting == "LearningRate" ? "--learning-rate" : null));
        Assert.Equal("--rates holds -1; expected 1.", FlagErrors.Rename("options.Rates holds -1; expected 1.", _ => "--rates"));
    }

    [Fact]
    public void An_unknown_command_names_the_help_of_the_program() => Assert.EndsWith("See 'hybrid --help'.", Fails("trian").Trim());
}
