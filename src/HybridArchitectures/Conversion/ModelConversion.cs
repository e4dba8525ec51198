using HybridArchitectures.Design;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Creates models of another design that keep the weights of a model.</summary>
/// <example>
/// <code>
/// using HybridLanguageModel teacher = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(96)).Depth(4).Build().CreateModel(seed: 0);
/// HybridDesign hybrid = teacher.Design.Convert(layers: [1, 2, 4], ConvertedMixers.Mamba2);
/// using ConvertedModel converted = teacher.Convert(hybrid);
/// Console.WriteLine(converted.Report);                                // how many weights are kept, derived and fresh
/// Console.WriteLine(converted.Report.ToTable());
/// </code>
/// </example>
public static class ModelConversion
{
    /// <summary>
    /// Creates a model of another design with the weights of this one. Tensors with the same name and shape are copied. Parts of a replaced mixer
    /// that correspond to a part of the old one are copied too: queries, keys, values, gates and outputs of attention and C, B, x, z and outputs of
    /// recurrent mixers (arXiv 2408.15237, section 2.2), convolutions, and decays. If a recurrent mixer replaces attention, the parts that attention
    /// does not have are initialised to imitate it. All other weights are those of a new model.
    /// </summary>
    /// <param name="model">The model. It is not changed.</param>
    /// <param name="design">
    /// The design of the new model, with the same width, vocabulary, number of blocks, embedding norm, and kind and storage of norms. Any mixer
    /// can replace any other; the report tells what could be kept.
    /// </param>
    /// <param name="options">The options. The default, null, means the defaults.</param>
    /// <returns>The new model on the same device, with the same types, and the report.</returns>
    /// <exception cref="ArgumentException">
    /// The design does not fit the model, the model has adapters that are not merged, or the statistics are those of another design.
    /// </exception>
    public static ConvertedModel Convert(this HybridLanguageModel model, HybridDesign design, ConversionOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(design);
        options ??= new();
        Check(model, design);
        CheckStatistics(model.Design, options.Statistics);
        var created = design.CreateModel(model.ComputeType, model.Device, options.Seed, model.WeightType);
        try
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var report = new WeightTransfer(model, created, options.Statistics).Run();
            return new(created, report);
        }
        catch
        {
            created.Dispose();
            throw;
        }
    }

    static void Check(HybridLanguageModel model, HybridDesign design)
    {
        var source = model.Design;
        void Same<T>(string name, T found, T expected) =>
            Require.That(Equals(found, expected), $"{nameof(design)}.{name}", found, $"{expected}, that of the model");
        Same("width", design.Width, source.Width);
        Same("vocabularySize", design.VocabularySize, source.VocabularySize);
        Same("depth", design.Depth, source.Depth);
        Same("normKind", design.NormKind, source.NormKind);
        Same("embeddingNorm", design.EmbeddingNorm, source.EmbeddingNorm);
        Same("zeroCenteredNorms", design.ZeroCenteredNorms, source.ZeroCenteredNorms);
        if (model.AttachedAdapters is not null)
            throw Require.Unfit(nameof(model), "model has adapters", "a model without; merge and detach them first");
    }

    static void CheckStatistics(HybridDesign design, AttentionStatistics? statistics)
    {
        foreach (var layer in statistics?.Layers ?? [])
        {
            bool fits = layer.Layer >= 1 && layer.Layer <= design.Depth && design.Blocks[layer.Layer - 1].Mixer is AttentionSpec attention
                && layer.MeanDistances.Count == attention.Heads && layer.OutputScales.Count == attention.OutputWidth
                && layer.Constant.Count == design.Width;
            if (!fits)
                throw Require.Unfit("options",
                    $"options.Statistics is that of another design: layer {layer.Layer}, {layer.MeanDistances.Count} heads",
                    "statistics that were measured on this model");
        }
    }
}
