using HybridArchitectures.Conversion;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Conversion;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Conversion;

public sealed class ImportanceScanTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static HybridLanguageModel Model(long seed = 1) => HybridDesign.Create(width: 16, vocabularySize: Small.VocabularySize).WithAttention(heads: 2)
        .WithMamba2(stateSize: 4, headSize: 8).WithFeedForward(FeedForwardSpec.SwiGlu(24)).Pattern("TMT").Build().CreateModel(seed: seed);

    ImportanceScanOptions Options => new() { ContextLength = 12, Window = 3, File = folder["scan.json"] };

    sealed class Reports(Action<ImportanceProgress>? action = null) : IProgress<ImportanceProgress>
    {
        public List<ImportanceProgress> All { get; } = [];

        public void Report(ImportanceProgress value)
        {
            All.Add(value);
            action?.Invoke(value);
        }
    }

    [Fact]
    public void The_losses_are_those_of_models_with_the_replacement()
    {
        using var model = Model();
        using var data = Small.Data(400);
        double Loss(HybridLanguageModel one) => Evaluator.Evaluate(one, data, 12).Loss;
        var result = ImportanceScan.Run(model, data, Options with { File = null });
        Assert.Equal((12, 399, 3, Loss(model)), (result.ContextLength, result.Tokens, result.Window, result.Loss));
        Assert.Equal("TMT", string.Concat(result.Layers.Select(layer => layer.Mixer)));
        Assert.Null(result.Layers[1].WithWindow);
        foreach (int layer in new[] { 1, 2, 3 })
        {
            // the projection of the output decides about what the mixer adds
            using var silent = model.Copy(ScalarType.Float32);
            using (no_grad()) silent.State[$"stack.blocks.{layer - 1}.mixer.output.weight"].zero_();
            Assert.Equal(Loss(silent), result.Layers[layer - 1].WithoutMixer!.Value, 1e-6);
            if (model.Design.Blocks[layer - 1].Mixer is not AttentionSpec attention) continue;
            using var narrow = model.Convert(model.Design.Convert([layer], attention with { Window = 3 }));
            Assert.Equal(Loss(narrow.Model), result.Layers[layer - 1].WithWindow!.Value, 1e-6);
            Assert.NotEqual(result.Loss, result.Layers[layer - 1].WithWindow!.Value);
        }
    }

    [Fact]
    public void A_layer_without_its_output_still_hands_its_values_to_later_layers()
    {
        using var model = HybridDesign.Create(width: 16, vocabularySize: Small.VocabularySize).WithMixer(new Rwkv7Spec { Heads = 2, ValueRank = 3 })
            .WithFeedForward(FeedForwardSpec.SwiGlu(24)).Pattern("WW").Build().CreateModel(seed: 1);
        using var data = Small.Data(200);
        var result = ImportanceScan.Run(model, data, Options with { File = null, Window = null });
        using (no_grad()) model.State["stack.blocks.0.mixer.output.weight"].zero_();
        Assert.Equal(Evaluator.Evaluate(model, data, 12).Loss, result.Layers[0].WithoutMixer!.Value, 1e-6);
    }

    [Fact]
    public void A_stopped_scan_continues_with_the_measurements_that_it_has()
    {
        using var model = Model();
        using var data = Small.Data(400);
        var expected = ImportanceScan.Run(model, data, Options with { File = null });
        using var stop = new CancellationTokenSource();
        var first = new Reports(report =>
        {
            if (report.Done == 3) stop.Cancel();
        });
        Assert.ThrowsAny<OperationCanceledException>(() => ImportanceScan.Run(model, data, Options, first, stop.Token));
        var second = new Reports();
        var resumed = ImportanceScan.Run(model, data, Options, second);
        Assert.Equal([1, 2, 3], first.All.Select(report => report.Done));
        Assert.Equal([4, 5, 6], second.All.Select(report => report.Done));
        Assert.All(second.All, report => Assert.Equal(6, report.Total));
        Assert.Equal(expected.ToTable(), resumed.ToTable());
        Assert.Equal((expected.Loss, expected.Tokens), (resumed.Loss, resumed.Tokens));
        Assert.Equal(expected.Layers, resumed.Layers);
    }

    [Fact]
    public void The_file_of_another_scan_and_damaged_files_are_refused()
    {
        using HybridLanguageModel model = Model(), other = Model(2);
        using var data = Small.Data(200);
        ImportanceScan.Run(model, data, Options);
        var refusal = Assert.Throws<ArgumentException>(() => ImportanceScan.Run(other, data, Options));
        Assert.Contains("which contains a scan of another model, other data or other options; expected", refusal.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ImportanceScan.Run(model, data, Options with { Window = 4 }));
        File.WriteAllText(folder["scan.json"], "{");
        Assert.Throws<InvalidDataException>(() => ImportanceScan.Run(model, data, Options));
    }

    [Fact]
    public void The_cheapest_layers_are_chosen_and_the_table_shows_all()
    {
        var result = new ImportanceResult(8, 100, 4, 1,
            [new(1, "T", 3, 1.5), new(2, "M", 1.25, null), new(3, "T", 1.125, 2), new(4, "T", 1.25, 1.0625)]);
        Assert.Equal([2, 3], result.ChooseLayers(2));
        Assert.Equal([1, 4], result.ChooseLayers(2, LayerReplacement.Window));
        Assert.Equal(0.5, result.Rise(1, LayerReplacement.Window));
        Assert.Null(result.Rise(2, LayerReplacement.Window));
        Assert.Contains("| 3 | T | +0.1250 | +1.0000 |", result.ToTable(), StringComparison.Ordinal);
        // a change that rounds to 0 has no sign
        var small = new ImportanceResult(8, 100, 4, 1, [new(1, "T", 0.99999, 1.00001), new(2, "T", 0.9, null)]);
        Assert.Contains("| 1 | T | 0.0000 | 0.0000 |\n| 2 | T | -0.1000 |  |", small.ToTable(), StringComparison.Ordinal);
        Assert.Equal("count", Assert.ThrowsAny<ArgumentException>(() => result.ChooseLayers(4, LayerReplacement.Window)).ParamName);
        Assert.Equal("layer", Assert.ThrowsAny<ArgumentException>(() => result.Rise(5)).ParamName);
    }

    [Fact]
    public void Options_are_refused_by_name()
    {
        void Refused(string name, ImportanceScanOptions options) =>
            Assert.StartsWith($"{name} is ", Assert.ThrowsAny<ArgumentException>(options.Check).Message, StringComparison.Ordinal);
        Refused("ContextLength", Options with { ContextLength = 0 });
        Refused("Rows", Options with { Rows = 0 });
        Refused("Tokens", Options with { Tokens = -1 });
        Refused("Window", Options with { Window = 0 });
        Refused("File", Options with { File = "" });
    }
}
