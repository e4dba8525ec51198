using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Generation;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

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

    static LogitsProcessor[] Processors(string label)
    {
        var note = Notes.GetProperty(label);
        if (note.TryGetProperty("in_order", out var chain)) return [.. chain.EnumerateArray().SelectMany(part => Processors(part.GetString()!))];
        double Number(string name) => note.GetProperty(name).GetDouble();
        return
        [
            note.GetProperty("processor").GetString() switch
            {
                "TemperatureLogitsWarper" => new TemperatureScaling(Number("temperature")),
                "TopKLogitsWarper" => new TopK((int)Number("top_k")),
                "TopPLogitsWarper" => new TopP(Number("top_p")),
                "MinPLogitsWarper" => new MinP(Number("min_p")),
                "RepetitionPenaltyLogitsProcessor" => new RepetitionPenalty(Number("penalty")),
                "TypicalLogitsWarper" => new TypicalP(Number("mass")),
                "EpsilonLogitsWarper" => new EpsilonCutoff(Number("epsilon")),
                "NoRepeatNGramLogitsProcessor" => new NoRepeatNgrams((int)Number("ngram_size")),
                var other => throw new InvalidOperationException(other),
            },
        ];
    }

    (Tensor Scores, IReadOnlyList<IReadOnlyList<int>> History) Input()
    {
        var history = file.Read("history");
        var flat = TensorMemory.Span<long>(history).ToArray();
        int rows = (int)history.size(0), length = (int)history.size(1);
        return (file.Read("scores"), [.. Enumerable.Range(0, rows).Select(row => flat.Skip(row * length).Take(length).Select(id => (int)id).ToArray())]);
    }

    static void Same(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        var (want, have) = (TensorMemory.Span<float>(expected).ToArray(), TensorMemory.Span<float>(actual.contiguous()).ToArray());
        for (int i = 0; i < want.Length; i++)
        {
            Assert.True(float.IsNegativeInfinity(want[i]) == float.IsNegativeInfinity(have[i]), $"element {i}: {want[i]} and {have[i]}");
            if (!float.IsNegativeInfinity(want[i])) Assert.InRange(have[i], want[i] - Tolerance, want[i] + Tolerance);
        }
    }

    [Theory, MemberData(nameof(Labels))]
    public void Scores_are_the_recorded_ones(string label)
    {
        var (scores, history) = Input();
        var before = scores.clone();
        var after = scores;
        foreach (var processor in Processors(label)) after = processor.Apply(after, history);
        Same(file.Read($"out.{label}"), after);
        Assert.True(before.equal(scores).all().item<bool>(), "the scores given were changed");
        if (file.Contains($"probabilities.{label}")) Same(file.Read($"probabilities.{label}"), after.softmax(1));
    }

    [Theory, MemberData(nameof(Labels))]
    public void A_row_does_not_depend_on_the_rows_beside_it(string label)
    {
        var (scores, history) = Input();
        for (int row = 0; row < history.Count; row++)
        {
            var after = scores.narrow(0, row, 1);
            foreach (var processor in Processors(label)) after = processor.Apply(after, [history[row]]);
            Same(file.Read($"out.{label}").narrow(0, row, 1), after);
        }
    }

    [Fact]
    public void All_recorded_cases_are_tried() => Assert.Equal(18, Labels.Count);

    [Fact]
    public void The_options_chain_the_rules_in_the_recorded_order()
    {
        var (scores, history) = Input();
        var options = new GenerationOptions { RepetitionPenalty = 1.3, Temperature = 0.7, TopK = 5, TopP = 0.8 };
        foreach (var processor in options.CreateProcessors()) scores = processor.Apply(scores, history);
        Same(file.Read("out.chain_a"), scores);
    }
}
