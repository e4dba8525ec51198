using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Represents a causal language model, which computes the logits of the next token from token ids and continues from a <see cref="HybridCache"/>.
/// </summary>
/// <param name="kind">The name of the model in exceptions.</param>
public abstract class LanguageModel(string kind) : HybridModule(kind)
{
    /// <summary>Gets the number of tokens of the vocabulary.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>Gets the device of the parameters.</summary>
    public abstract Device Device { get; }

    /// <summary>Gets the type of activations.</summary>
    public abstract ScalarType ComputeType { get; }

    /// <summary>Computes the logits of the token after each position.</summary>
    /// <param name="ids">Token ids, (batch, length) int64 on <see cref="Device"/>.</param>
    /// <param name="context">Padding, documents and cache. The default, null, means full rows of one document each.</param>
    /// <returns>(batch, length, vocabulary size) float32; 0 at padding.</returns>
    public abstract Tensor Forward(Tensor ids, SequenceContext? context = null);

    /// <summary>Computes the logits of the token after the last token of each row.</summary>
    /// <returns>(batch, vocabulary size) float32; 0 for a row without tokens.</returns>
    /// <inheritdoc cref="Forward"/>
    public virtual Tensor NextLogits(Tensor ids, SequenceContext? context = null)
    {
        using var scope = NewDisposeScope();
        return LastReal(Forward(ids, context), context).MoveToOuterDisposeScope();
    }

    /// <summary>Returns the vectors of (batch, length, n) at the last token of each row: (batch, n), 0 for a row without tokens.</summary>
    private protected static Tensor LastReal(Tensor x, SequenceContext? context)
    {
        if (x.size(1) == 0) return zeros([x.size(0), x.size(2)], x.dtype, x.device);
        if (context?.RealTokens() is not { } real) return x.select(1, x.size(1) - 1);
        // (batch, 1): one after the last, 0 if none
        var after = real.to(ScalarType.Int64).mul(Indices.Range(1, x.size(1), x.device)).amax([1], keepdim: true);
        var last = x.gather(1, after.sub(Scalars.One).clamp_min(Scalars.Zero).unsqueeze(-1).expand(x.size(0), 1, x.size(2))).squeeze(1);
        return last.masked_fill(after.eq(Scalars.Zero), Scalars.Zero);
    }

    /// <summary>Creates an empty cache for <paramref name="batch"/> rows.</summary>
    public abstract HybridCache CreateCache(int batch);

    /// <summary>
    /// Reads a cache that <see cref="HybridCache.Save"/> wrote for this model: the same design and weights. Only the design can be checked.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no cache, damaged, or of another design; the message names the reason.</exception>
    public HybridCache LoadCache(string path)
    {
        Require.NotEmpty(path);
        return HybridCache.Load(path, (rows, stateType) => stateType is null ? CreateCache(rows)
            : this is HybridLanguageModel hybrid ? hybrid.CreateCache(rows, stateType.Value)
            : throw Require.Unfit(nameof(path), $"the cache has states of {stateType}", "those that the model creates"));
    }
}
