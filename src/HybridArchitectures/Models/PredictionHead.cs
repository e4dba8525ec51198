using HybridArchitectures.Design;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Represents a head of multi-token prediction (arXiv 2412.19437, section 2.2), which predicts the token after the next one. It computes these steps:
/// <list type="number">
/// <item>The embedding of the next token and the hidden vector of the model are normed, joined in this order, and projected to the width.</item>
/// <item>A stack of one block with its own cache and its final norm follows. Its positions are those of the hidden vectors.</item>
/// <item>The embedding and the head of the model are shared. Logits are those of the model for the result.</item>
/// </list>
/// A head can continue from its own results, and so draft several tokens.
/// </summary>
/// <remarks>
/// It is not a part of a model: it is loaded with <see cref="Checkpoints.PretrainedModel.LoadPredictionHead"/> and used by
/// <see cref="Generation.GenerationOptions.PredictionHead"/>. Not supported: training and writing a head.
/// </remarks>
public sealed class PredictionHead : HybridModule
{
    readonly Norm embeddingNorm, hiddenNorm;
    readonly Linear input;
    readonly HybridStack stack;
    long drafted, accepted;

    /// <summary>Creates a head with the initialisation of its design.</summary>
    /// <param name="factory">Creates the parameters of <see cref="ModuleFactory.Design"/>, which describes the blocks of the head.</param>
    /// <param name="compute">The type of activations and of the cache. The default is float32.</param>
    public PredictionHead(ModuleFactory factory, ScalarType compute = ScalarType.Float32) : base(nameof(PredictionHead))
    {
        ArgumentNullException.ThrowIfNull(factory);
        StateChecks.ComputeType(compute);
        Design = factory.Design;
        embeddingNorm = Add("embedding_norm", Norm.Create(factory, Design.NormEpsilon));
        hiddenNorm = Add("hidden_norm", Norm.Create(factory, Design.NormEpsilon));
        input = Add("input", new Linear(factory.Projection(Design.Width, 2L * Design.Width)));
        stack = Add("stack", new HybridStack(factory, compute));
    }

    /// <summary>Gets the design of the blocks, with the width and the vocabulary of the model.</summary>
    public HybridDesign Design { get; }

    /// <summary>Gets the number of tokens that this head has drafted in all generations.</summary>
    public long DraftedTokens => Interlocked.Read(ref drafted);

    /// <summary>Gets the number of drafted tokens that the model has chosen too.</summary>
    public long AcceptedTokens => Interlocked.Read(ref accepted);

    internal void Count(long drafts, long chosen)
    {
        Interlocked.Add(ref drafted, drafts);
        Interlocked.Add(ref accepted, chosen);
    }

    /// <summary>Gets every tensor by its name.</summary>
    internal IReadOnlyDictionary<string, Tensor> State => AllState().ToDictionary(item => item.Name, item => item.Value, StringComparer.Ordinal);

    /// <summary>Checks that a model fits the head.</summary>
    internal void RequireFit(HybridLanguageModel model)
    {
        RequireAlive();
        if (Design.Width != model.Design.Width || Design.VocabularySize != model.VocabularySize)
            throw Require.Unfit(nameof(model), $"model has width {model.Design.Width} and a vocabulary of {model.VocabularySize}",
                $"{Design.Width} and {Design.VocabularySize}, as the head of multi-token prediction");
        var device = embeddingNorm.Weight.device;
        if (device.type != model.Device.type) throw Require.Refusal("model.Device", model.Device, $"{device}, the device of the head");
        if (stack.ComputeType != model.ComputeType)
            throw Require.Refusal("model.ComputeType", model.ComputeType, $"{stack.ComputeType}, that of the head");
    }

    /// <summary>Creates an empty cache for <paramref name="batch"/> rows.</summary>
    public HybridCache CreateCache(int batch) => stack.CreateCache(batch, Design);

    /// <summary>Computes the hidden vectors from which the model's head predicts the token after the next one.</summary>
    /// <param name="model">The model whose embedding is used.</param>
    /// <param name="hidden">(batch, length, width): what <see cref="HybridLanguageModel.Hidden"/> or this method returned for each token.</param>
    /// <param name="nextIds">The token after each of these tokens, (batch, length) int64.</param>
    /// <param name="context">Padding and the cache of this head. The default, null, means full rows without a cache.</param>
    /// <returns>(batch, length, width).</returns>
    public Tensor Forward(HybridLanguageModel model, Tensor hidden, Tensor nextIds, SequenceContext? context = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        RequireFit(model);
        Require.Alive(hidden);
        using var scope = NewDisposeScope();
        using var noGrad = context?.Cache is null ? null : no_grad();
        var embedded = model.Embed(nextIds, nameof(nextIds));
        if (!hidden.shape.SequenceEqual(embedded.shape))
            throw Require.Unfit(nameof(hidden), $"hidden is [{string.Join(", ", hidden.shape)}]", $"[{string.Join(", ", embedded.shape)}]");
        var joined = cat([embeddingNorm.Forward(embedded), hiddenNorm.Forward(hidden)], -1);
        return stack.Forward(input.Forward(joined), context).MoveToOuterDisposeScope();
    }
}
