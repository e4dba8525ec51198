using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>A causal language model: ids in, logits of the next token out, continued through a <see cref="HybridCache"/>.</summary>
/// <param name="kind">What error messages call it.</param>
public abstract class LanguageModel(string kind) : HybridModule(kind)
{
    /// <summary>Tokens of the vocabulary.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>Where the parameters live.</summary>
    public abstract Device Device { get; }

    /// <summary>The type of activations.</summary>
    public abstract ScalarType ComputeType { get; }

    /// <summary>Logits of the token after each position.</summary>
    /// <param name="ids">(batch, length) int64, on <see cref="Device"/>.</param>
    /// <param name="context">Pads, documents, cache; null for full rows of one document each.</param>
    /// <returns>(batch, length, vocabulary) float32; 0 at pads.</returns>
    public abstract Tensor Forward(Tensor ids, SequenceContext? context = null);

    /// <summary>Logits of the token after each row's last real token.</summary>
    /// <returns>(batch, vocabulary) float32; 0 for a row without tokens.</returns>
    /// <inheritdoc cref="Forward"/>
    public virtual Tensor NextLogits(Tensor ids, SequenceContext? context = null)
    {
        using var scope = NewDisposeScope();
        return LastReal(Forward(ids, context), context).MoveToOuterDisposeScope();
    }

    /// <summary>Of (batch, length, n) what stands at each row's last real token: (batch, n), 0 for a row without tokens.</summary>
    private protected static Tensor LastReal(Tensor x, SequenceContext? context)
    {
        if (x.size(1) == 0) return zeros([x.size(0), x.size(2)], x.dtype, x.device);
        if (context?.RealTokens() is not { } real) return x.select(1, x.size(1) - 1);
        var after = real.to(ScalarType.Int64).mul(Indices.Range(1, x.size(1), x.device)).amax([1], keepdim: true);      // (batch, 1): one past the last, 0 if none
        var last = x.gather(1, after.sub(Scalars.One).clamp_min(Scalars.Zero).unsqueeze(-1).expand(x.size(0), 1, x.size(2))).squeeze(1);
        return last.masked_fill(after.eq(Scalars.Zero), Scalars.Zero);
    }

    /// <summary>An empty cache for <paramref name="batch"/> rows.</summary>
    public abstract HybridCache CreateCache(int batch);
}
