using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Represents a head of multi-token prediction (arXiv 2412.19437, section 2.2), which predicts the token after the next one. It computes these steps:
/// <list type="number">
/// <item>The embedding of the next token and the hidden vector of the model are normed, joined in this order, and projected to the width.</item>
/// <item>A stack with its own cache and its final norm follows, often of one block. Its positions are those of the hidden vectors.</item>
/// <item>The embedding and the head of the model are shared. Logits are those of the model for the result.</item>
/// </list>
/// A head can continue from its own results, and so draft several tokens.
/// </summary>
/// <remarks>
/// It is not a part of a model: <see cref="Create"/> makes a new one for a model, and
/// <see cref="Checkpoints.PretrainedModel.LoadPredictionHead"/> and <see cref="Checkpoints.Checkpoint.LoadPredictionHead"/> load one.
/// <see cref="Generation.GenerationOptions.PredictionHead"/> uses it, and <c>MultiTokenPrediction</c> of the package HybridArchitectures.Training
/// trains it.
/// </remarks>
public sealed class PredictionHead : HybridModule
{
    const long NoTarget = -100;
    const double Smallest = 1e-30;

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

    /// <summary>Creates a head with new parameters for a model. It has the types of the model and is on the same device.</summary>
    /// <param name="model">The model.</param>
    /// <param name="blocks">
    /// The blocks of the head. The default, null, means one: the last block of the model with attention, or its last block if none has attention,
    /// without a shared transformer and without values of an earlier block.
    /// </param>
    /// <param name="seed">
    /// The seed of the initial values. With null, the default, the seed comes from the current generator of torch.
    /// </param>
    /// <returns>The head, which the caller disposes.</returns>
    /// <exception cref="ArgumentException">The blocks cannot stand alone, for example because they need values of other blocks.</exception>
    public static PredictionHead Create(HybridLanguageModel model, IReadOnlyList<BlockSpec>? blocks = null, long? seed = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.RequireAlive();
        blocks ??= DefaultBlocks(model.Design.Blocks);
        var design = (model.Design with { Name = null, Blocks = [.. Require.Items(blocks)], SharedTransformers = [] }).Resolve();
        return design.CreatePredictionHead(model.ComputeType, model.Device, seed, model.WeightType);
    }

    // without what a block takes from other parts of the model
    static IReadOnlyList<BlockSpec> DefaultBlocks(IReadOnlyList<BlockSpec> all)
    {
        var block = all.LastOrDefault(block => block.Mixer is AttentionSpec) ?? all[^1];
        return FirstValues.WithoutRankInFirst([block with { Shared = null }]);
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

    /// <summary>Gets the blocks and the final norm.</summary>
    internal HybridStack Stack => stack;

    /// <summary>Gets the tensors of a checkpoint by name: parameters and persistent buffers.</summary>
    public IReadOnlyDictionary<string, Tensor> State => AllState().ToDictionary(item => item.Name, item => item.Value, StringComparer.Ordinal);

    /// <summary>Gets every trainable tensor once. Frozen tensors (<c>requires_grad</c> false) are not included.</summary>
    public IReadOnlyList<ModelParameter> Parameters => [.. this.AllTrainable()];

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

    /// <summary>
    /// Computes the loss of predicting the token after the next one (arXiv 2412.19437, equation 24): the cross entropy summed over these tokens,
    /// divided by the number of <paramref name="targets"/> that count. Sums over parts of a batch therefore add up in proportion to their targets.
    /// Losses that layers of the head add, such as those of experts, are included.
    /// </summary>
    /// <param name="model">The model whose embedding and head are used. They receive gradients.</param>
    /// <param name="hidden">The hidden vectors of the model, (batch, length, width), which receive gradients.</param>
    /// <param name="ids">Token ids, (batch, length) int64.</param>
    /// <param name="targets">The token after each of <paramref name="ids"/>, (batch, length) int64; -100 where none counts.</param>
    /// <param name="layout">
    /// Padding and documents. The default, null, means full rows of one document each. No token is predicted from another document.
    /// </param>
    /// <param name="weights">The weight of each target, (batch, length) float32. The default, null, means equal weights.</param>
    /// <returns>A scalar in nats per target.</returns>
    public Tensor Loss(
        HybridLanguageModel model, Tensor hidden, Tensor ids, Tensor targets, SequenceLayout? layout = null, Tensor? weights = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        Require.Alive(ids);
        Require.Alive(targets);
        if (!targets.shape.SequenceEqual(ids.shape))
            throw Require.Unfit(nameof(targets), $"targets is [{string.Join(", ", targets.shape)}]", $"[{string.Join(", ", ids.shape)}], as ids");
        using var scope = NewDisposeScope();
        using var context = new SequenceContext(layout);
        var (later, laterWeights) = (Later(targets, layout), weights is null ? null : Shifted(weights));
        var loss = model.CrossEntropyOf(Forward(model, hidden, Shifted(ids), context), later, laterWeights);
        using (no_grad()) later = Counted(later, laterWeights).div(Counted(targets, weights).clamp_min(Scalars.From(Smallest)));
        loss = loss.mul(later.to(loss.dtype));
        foreach (var auxiliary in context.AuxiliaryLosses) loss = loss.add(auxiliary, Scalars.One);
        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>Does the work between optimizer steps, such as balancing experts. Call it once after each step.</summary>
    public void AfterStep() => stack.AfterStep();

    // the token after the next one; none after the last column and where the next token begins another document
    static Tensor Later(Tensor targets, SequenceLayout? layout)
    {
        if (targets.size(1) == 0) return targets;
        var none = full([targets.size(0), 1], Scalars.From(NoTarget), ScalarType.Int64, targets.device);
        var later = targets.narrow(1, 1, targets.size(1) - 1);
        if (layout?.Starts is { } starts) later = later.masked_fill(starts.narrow(1, 1, targets.size(1) - 1), Scalars.From(NoTarget));
        return cat([later, none], 1);
    }

    // the value of the next column; that of the last column has no target
    static Tensor Shifted(Tensor x) =>
        x.size(1) == 0 ? x : cat([x.narrow(1, 1, x.size(1) - 1), x.narrow(1, x.size(1) - 1, 1)], 1);

    // the sum of the weights of the targets that count, float32
    static Tensor Counted(Tensor targets, Tensor? weights)
    {
        var counts = targets.ne(Scalars.From(NoTarget)).to(ScalarType.Float32);
        return (weights is null ? counts : counts.mul(weights)).sum();
    }
}
