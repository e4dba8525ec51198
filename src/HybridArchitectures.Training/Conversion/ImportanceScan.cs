using System.Globalization;
using HybridArchitectures.Conversion;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Conversion;

/// <summary>
/// Measures the importance of each layer of a model: the held-out loss with the mixer of one layer replaced by one that returns 0, and by attention
/// over a window. Layers whose replacement costs little are the first to be converted (the idea of arXiv 2512.20569 without training).
/// </summary>
/// <example>
/// <code>
/// using var heldOut = TokenDataset.FromTokens(Enumerable.Range(0, 3000).Select(i => i * i % 251).ToArray(), 256);
/// using var model = HybridDesign.Create(width: 32, vocabularySize: 256).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(64))
///     .Depth(4).Build().CreateModel(seed: 0);
/// ImportanceResult importance = ImportanceScan.Run(model, heldOut, new() { ContextLength = 64, Window = 8 });
/// Console.WriteLine(importance.ToTable());
/// HybridDesign hybrid = model.Design.Convert(importance.ChooseLayers(3), ConvertedMixers.Mamba2);
/// </code>
/// </example>
public static class ImportanceScan
{
    const string Whole = "model";

    /// <summary>Measures a model: one pass over the data for the model itself, and one for each layer and replacement.</summary>
    /// <param name="model">The model. It is not changed.</param>
    /// <param name="data">The held-out data.</param>
    /// <param name="options">The options.</param>
    /// <param name="progress">Receives a report after each measurement. The default, null, reports nothing.</param>
    /// <param name="cancellation">
    /// Stops the scan with an <see cref="OperationCanceledException"/>. Measurements that are done remain in the file of the options.
    /// </param>
    /// <exception cref="ArgumentException">An option is invalid, the data does not fit the model, or the file contains another scan.</exception>
    /// <exception cref="InvalidDataException">The file is damaged.</exception>
    public static ImportanceResult Run(HybridLanguageModel model, TokenDataset data, ImportanceScanOptions options,
        IProgress<ImportanceProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(data);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        var record = ImportanceRecord.ReadOrCreate(options.File, Describe(model, data, options));
        var measurements = Measurements(model.Design, options).ToArray();
        foreach (var (name, layer, replacement) in measurements)
        {
            if (record.Losses.ContainsKey(name)) continue;
            cancellation.ThrowIfCancellationRequested();
            var measured = Measure(model, data, options, layer, replacement, cancellation);
            record = record with { Tokens = measured.Tokens };
            record.Losses.Add(name, measured.Loss);
            if (options.File is { } path) record.Write(path);
            progress?.Report(new(record.Losses.Count, measurements.Length, layer, measured.Loss));
        }
        return ToResult(model.Design, record, options);
    }

    static string Describe(HybridLanguageModel model, TokenDataset data, ImportanceScanOptions options) => string.Create(
        CultureInfo.InvariantCulture, $"model {Teacher.ComputeMark(model)}, {model.ComputeType}; {data.Description}; ")
        + string.Create(CultureInfo.InvariantCulture,
            $"context {options.ContextLength}, tokens {options.Tokens}, window {options.Window}");

    static string Name(int layer, LayerReplacement replacement) =>
        string.Create(CultureInfo.InvariantCulture, $"layer {layer}, {(replacement == LayerReplacement.Window ? "window" : "none")}");

    static IEnumerable<(string Name, int Layer, LayerReplacement Replacement)> Measurements(HybridDesign design, ImportanceScanOptions options)
    {
        yield return (Whole, 0, LayerReplacement.None);
        for (int layer = 1; layer <= design.Depth; layer++)
        {
            if (design.Blocks[layer - 1].Mixer is not { } mixer) continue;
            yield return (Name(layer, LayerReplacement.None), layer, LayerReplacement.None);
            if (options.Window is not null && mixer is AttentionSpec)
                yield return (Name(layer, LayerReplacement.Window), layer, LayerReplacement.Window);
        }
    }

    static Evaluation Measure(HybridLanguageModel model, TokenDataset data, ImportanceScanOptions options, int layer, LayerReplacement replacement,
        CancellationToken cancellation)
    {
        Evaluation Evaluate(Func<SequenceContext, Tensor, Func<Tensor, Tensor>, Tensor>? around) => Evaluator.Evaluate(model, data,
            options.ContextLength, options.Rows, options.Tokens, false, new RankGroup(null), null, cancellation, around);
        if (layer == 0) return Evaluate(null);
        if (replacement == LayerReplacement.None)
            return Evaluate((context, x, mix) => context.Block == layer - 1 ? Nothing(x, mix, model.Stack.Blocks[layer - 1]) : mix(x));
        var attention = (AttentionSpec)model.Design.Blocks[layer - 1].Mixer!;
        // a layer with a narrower window keeps it
        int window = Math.Min(options.Window!.Value, attention.Window ?? int.MaxValue);
        using var narrow = model.CopyMixer(layer, attention with { Window = window });
        return Evaluate((context, x, mix) => context.Block == layer - 1 ? narrow.Forward(x, context, null) : mix(x));
    }

    // a layer whose values later layers read still hands them on
    static Tensor Nothing(Tensor x, Func<Tensor, Tensor> mix, Block block)
    {
        if (block.HandsOnValues) mix(x).Dispose();
        return zeros_like(x);
    }

    static ImportanceResult ToResult(HybridDesign design, ImportanceRecord record, ImportanceScanOptions options)
    {
        double? Loss(int layer, LayerReplacement replacement) => record.Losses.TryGetValue(Name(layer, replacement), out double loss) ? loss : null;
        var layers = from layer in Enumerable.Range(1, design.Depth)
                     where design.Blocks[layer - 1].Mixer is not null
                     select new LayerImportance(layer, design.Blocks[layer - 1].Mixer!.Symbol, Loss(layer, LayerReplacement.None),
                         Loss(layer, LayerReplacement.Window));
        return new(options.ContextLength, record.Tokens, options.Window, record.Losses[Whole], [.. layers]);
    }
}
