using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Generation;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

/// <summary>Tests the properties of samplers that recorded scores do not show. <see cref="ConformanceSamplers"/> compares the scores.</summary>
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
    public void A_row_does_not_depend_on_the_other_rows(string label)
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
    public void All_recorded_cases_are_compared() => Assert.Equal(18, ConformanceRunner.Run(Folder).Count);

    [Fact]
    public void The_options_chain_the_rules_in_the_recorded_order()
    {
        var scores = file.Read("scores");
        var options = new GenerationOptions { RepetitionPenalty = 1.3, Temperature = 0.7, TopK = 5, TopP = 0.8 };
        foreach (var processor in options.CreateProcessors()) scores = processor.Apply(scores, ConformanceSamplers.History(file));
        Assert.InRange(ConformanceSamplers.Error(file.Read("out.chain_a"), scores), 0, Tolerance);
    }

    [Fact]
    public void Tokens_that_tie_at_the_border_of_top_p_stay_if_their_ids_are_higher()
    {
        // 40 tokens of 1/64 each and one of 24/64, which reaches 51 % with nine of them
        var scores = zeros(1, 41);
        scores[0, 20] = MathF.Log(24);
        float[] kept = new TopP(0.51).Apply(scores, [Array.Empty<int>()]).data<float>().ToArray();
        Assert.Equal([20, .. Enumerable.Range(32, 9)], Enumerable.Range(0, 41).Where(id => float.IsFinite(kept[id])));
    }

    [Fact]
    public void A_vocabulary_of_equal_tokens_is_cut_at_the_stated_share()
    {
        foreach (int size in new[] { 1000, 100_000 })
        {
            foreach (double share in new[] { 0.25, 0.5, 0.875 })
            {
                float[] kept = new TopP(share).Apply(ones(1, size), [Array.Empty<int>()]).data<float>().ToArray();
                // a token more may be needed, where the rounded probabilities add up to a little less
                Assert.InRange(kept.Count(float.IsFinite), share * size - 1, share * size + 1);
            }
        }
    }
}
