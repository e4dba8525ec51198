using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>A causal language model: ids in, logits of the next token out, continued through a <see cref="HybridCache"/>.</summary>
/// <param name="kind">What error messages call it.</param>
public abstract class LanguageModel(string kind) : HybridModule(kind)
{
    /// <summary>Tokens of the vocabulary.</summary>
    public abstract int Vocabulary { get; }

    /// <summary>Where the parameters live.</summary>
    public abstract Device Device { get; }

    /// <summary>The type of activations.</summary>
    public abstract ScalarType ComputeType { get; }

    /// <summary>Logits of the token after each position.</summary>
    /// <param name="ids">(batch, length) int64, on <see cref="Device"/>.</param>
    /// <param name="context">Pads, documents, cache; null for full rows of one document each.</param>
    /// <returns>(batch, length, vocabulary) float32; 0 at pads.</returns>
    public abstract Tensor Forward(Tensor ids, SequenceContext? context = null);

    /// <summary>An empty cache for <paramref name="batch"/> rows.</summary>
    public abstract HybridCache CreateCache(int batch);
}
