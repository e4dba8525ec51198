using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Generation;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

/// <summary>What the recorded scores, which <see cref="ConformanceSamplers"/> compares, do not say.</summary>
public sealed class SamplerCaseTests : IDisposable
{
    const double Tolerance = 1e-6;

    static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Cases", "samplers");
    static readonly JsonElement Notes = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "notes.json"))).RootElement.GetProperty("cases");

    readonly SafetensorsFile file = SafetensorsFile.Open(Path.Combine(Folder, "cases.safetensors"));
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        file.Dispose();
    }

    public static TheoryData<string> Labels => [.. Notes.EnumerateObject().Select(item => item.Name)];

    [Theory, MemberData(nameof(Labels))]
    public void A_row_does_not_depend_on_the_rows_beside_it(string label)
    {
        var (scores, history) = (file.Read("scores"), ConformanceSamplers.History(file));
        var before = scores.clone();
        for (int row = 0; row < history.Length; row++)
        {
            var after = scores.narrow(0, row, 1);
            foreach (var processor in ConformanceSamplers.Processors(Notes, label)) after = processor.Apply(after, [history[row]]);
            Assert.InRange(ConformanceSamplers.Error(file.Read($"out.{label}").narrow(0, row, 1), after), 0, Tolerance);
        }
        Assert.True(before.equal(scores).all().item<bool>(), "the scores given were changed");
    }

    [Fact]
    public void All_recorded_cases_are_tried() => Assert.Equal(18, ConformanceRunner.Run(Folder).Count);

    [Fact]
    public void The_options_chain_the_rules_in_the_recorded_order()
    {
        var scores = file.Read("scores");
        var options = new GenerationOptions { RepetitionPenalty = 1.3, Temperature = 0.7, TopK = 5, TopP = 0.8 };
        foreach (var processor in options.CreateProcessors()) scores = processor.Apply(scores, ConformanceSamplers.History(file));
        Assert.InRange(ConformanceSamplers.Error(file.Read("out.chain_a"), scores), 0, Tolerance);
    }
}
