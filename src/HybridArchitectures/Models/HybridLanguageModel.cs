using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Represents the language model of a <see cref="HybridDesign"/>: an embedding, a stack of blocks, and a head that shares the weight of the embedding
/// or has a separate one.
/// </summary>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// using HybridLanguageModel model = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4)
///     .WithMamba2(stateSize: 16, headSize: 16).WithFeedForward(FeedForwardSpec.SwiGlu(96)).Pattern("MTM").Build().CreateModel(seed: 0);
/// Tensor ids = randint(256, [2, 33], ScalarType.Int64);                              // (batch, length)
/// Tensor logits = model.Forward(ids);                                                // (batch, length, vocabulary size)
/// ModelLoss loss = model.Loss(ids[.., ..32], ids[.., 1..]);
/// Autograd.Backward(loss.Total);
/// </code>
/// </example>
public sealed partial class HybridLanguageModel : LanguageModel
{
    readonly HybridStack stack;
    readonly IReadOnlyList<string> stateNames;
    IDisposable? savedForReuse;

    internal HybridLanguageModel(ModuleFactory factory, ScalarType compute) : base(nameof(HybridLanguageModel))
    {
        Design = factory.Design;
        WeightType = factory.WeightType;
        AddParameter("embedding", factory.Weight(Design.Initialisation.EmbeddingStandardDeviation, Design.VocabularySize, Design.Width),
            decays: true);
        stack = Add("stack", new HybridStack(factory, compute));
        if (!Design.TiedHead) AddParameter("head", factory.Projection(Design.VocabularySize, Design.Width), decays: true);
        HasCustomMixers = Design.Blocks.Any(block => block.Mixer is CustomMixerSpec);
        stateNames = [.. AllState().Select(item => item.Name)];
    }

    /// <summary>
    /// Replaces the object that a generation on a GPU saves for later ones, and returns the previous one. A disposed model saves none.
    /// </summary>
    internal IDisposable? Keep(IDisposable? replacement)
    {
        var before = Interlocked.Exchange(ref savedForReuse, replacement);
        if (IsDisposed) Interlocked.Exchange(ref savedForReuse, null)?.Dispose();
        return before;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (disposing) Keep(null)?.Dispose();
    }

    /// <summary>Gets the design from which the model was created.</summary>
    public HybridDesign Design { get; }

    /// <summary>Gets the blocks and the final norm.</summary>
    public HybridStack Stack => stack;

    /// <inheritdoc/>
    public override int VocabularySize => Design.VocabularySize;

    /// <inheritdoc/>
    public override Device Device => Embedding.device;

    /// <inheritdoc/>
    public override ScalarType ComputeType => stack.ComputeType;

    /// <summary>
    /// Gets the type in which weights of projections are stored: float32 in a model that can be trained, or bfloat16. Parameters that are used in
    /// float32 keep that type: norms, convolutions, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>, routers.
    /// </summary>
    public ScalarType WeightType { get; }

    /// <summary>Gets the embedding, (vocabulary size, width) of type <see cref="WeightType"/>.</summary>
    public Parameter Embedding => Parameter("embedding");

    /// <summary>
    /// Gets the weight of the head, (vocabulary size, width) of type <see cref="WeightType"/>. It is the embedding if the head is tied.
    /// </summary>
    public Parameter Head => Design.TiedHead ? Embedding : Parameter("head");

    /// <summary>Gets or sets the attached adapters, or null. Models do not know their type, because Adapters depends on Models.</summary>
    internal object? AttachedAdapters { get; set; }

    /// <summary>Gets whether the model has custom mixers.</summary>
    internal bool HasCustomMixers { get; }

    string HeadName => Design.TiedHead ? "embedding" : "head";

    /// <inheritdoc/>
    protected internal override IReadOnlyList<string> ProjectionWeights => [HeadName];

    /// <inheritdoc/>
    protected internal override MatrixLayout? Matrix(string weight) => null;

    /// <summary>Gets every trainable tensor once, in the order of the layers. Frozen tensors (<c>requires_grad</c> false) are not included.</summary>
    public IReadOnlyList<ModelParameter> Parameters => [.. this.AllTrainable()];

    /// <summary>Gets the tensors of a checkpoint by name: parameters and persistent buffers.</summary>
    public IReadOnlyDictionary<string, Tensor> State => AllState().ToDictionary(item => item.Name, item => item.Value);

    /// <summary>
    /// Returns the complete state. Throws an exception if the model has been disposed, or if its tensors are not those of its design.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The model has been disposed.</exception>
    /// <exception cref="InvalidOperationException">A tensor is missing. The message contains its name.</exception>
    internal IReadOnlyDictionary<string, Tensor> WholeState()
    {
        RequireAlive();
        var state = State;
        foreach (string name in stateNames)
            if (!state.TryGetValue(name, out var value) || value.IsInvalid)
                throw new InvalidOperationException(
                    $"the model's tensor '{name}' is gone; expected all {stateNames.Count} tensors of its design. Nothing has been written");
        return state;
    }

    /// <inheritdoc/>
    public override HybridCache CreateCache(int batch) => stack.CreateCache(batch, Design);

    /// <summary>Creates an empty cache that stores the recurrent states of its rows in a type between two passes.</summary>
    /// <param name="batch">The number of rows, at least 1.</param>
    /// <param name="stateType">
    /// Float32, as without this argument, or BFloat16, which halves the states. They are rounded after every pass and every decoding step. The states
    /// of Mamba-1, Mamba-2 and lightning attention can be bfloat16; attention and short convolutions have no recurrent states.
    /// </param>
    /// <exception cref="ArgumentException">A layer, which the message names, does not support the type, or activations are float64.</exception>
    public HybridCache CreateCache(int batch, ScalarType stateType) => stack.CreateCache(batch, Design, stateType);

    /// <summary>Computes the input of the head: (batch, length, width) after the final norm, in the type of activations.</summary>
    /// <param name="ids">Token ids, (batch, length) int64 on <see cref="Device"/>, from 0 to the vocabulary size - 1.</param>
    /// <param name="context">Padding, documents and cache. The default, null, means full rows of one document each.</param>
    /// <returns>(batch, length, width).</returns>
    public Tensor Hidden(Tensor ids, SequenceContext? context = null)
    {
        RequireAlive();
        CheckIds(ids, nameof(ids));
        CheckCache(context?.Cache);
        using var scope = NewDisposeScope();
        using var noGrad = context?.Cache is null ? null : no_grad();
        context?.BeginAhead(ids.size(0), ids.size(1), Device);
        return stack.Forward(Embed(ids), context).MoveToOuterDisposeScope();
    }

    /// <summary>Returns the input of the first block, (batch, length, width), for ids that are checked.</summary>
    internal Tensor Embed(Tensor ids, string name)
    {
        RequireAlive();
        CheckIds(ids, name);
        return Embed(ids);
    }

    Tensor Embed(Tensor ids)
    {
        var embedded = TokenEmbedding.Forward(Embedding, ids, Design.PaddingId);
        if (embedded.dtype != ComputeType) embedded = embedded.to(ComputeType);
        return Scaled(embedded, Design.EmbeddingScale);
    }

    // models of one design, such as a copy in another type, may continue each other's caches
    void CheckCache(HybridCache? cache)
    {
        if (cache?.Design is not { } other || ReferenceEquals(other, Design)) return;
        if (other.Width != Design.Width || !other.Blocks.SequenceEqual(Design.Blocks))
            throw Require.Unfit("context", $"context has a cache for the design {other.Pattern} of width {other.Width} with other blocks",
                "a cache that this model or one of the same design created");
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor ids, SequenceContext? context = null)
    {
        RequireAlive();
        using var scope = NewDisposeScope();
        using var noGrad = context?.Cache is null ? null : no_grad();
        using var newContext = context is null ? new SequenceContext() : null;
        context ??= newContext!;
        var logits = Logits(Hidden(ids, context));
        return context.RealTokens() is { } real
            ? logits.masked_fill(real.logical_not().unsqueeze(-1), Scalars.Zero).MoveToOuterDisposeScope()
            : logits.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    /// <remarks>
    /// On a GPU, steps of one token per row with a cache run as a CUDA graph after the first ones; <see cref="HybridCache.CudaGraphs"/> turns this
    /// off. The logits are the same.
    /// </remarks>
    public override Tensor NextLogits(Tensor ids, SequenceContext? context = null)
    {
        RequireAlive();
        using var scope = NewDisposeScope();
        using var noGrad = context?.Cache is null ? null : no_grad();
        if (NextStep.For(this, ids, context) is { } step) return step.Run(ids, context!).MoveToOuterDisposeScope();
        return NextLogitsDirectly(ids, context).MoveToOuterDisposeScope();
    }

    /// <summary>Computes <see cref="NextLogits"/> without a graph.</summary>
    internal Tensor NextLogitsDirectly(Tensor ids, SequenceContext? context)
    {
        using var scope = NewDisposeScope();
        using var newContext = context is null ? new SequenceContext() : null;
        context ??= newContext!;
        return Logits(LastReal(Hidden(ids, context), context)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Computes the logits of hidden vectors (..., width), as <see cref="Hidden"/> returns them: (..., vocabulary size) float32.
    /// <see cref="Forward(Tensor, SequenceContext)"/> computes the logits of token ids.
    /// </summary>
    public Tensor Logits(Tensor hidden)
    {
        RequireAlive();
        Checks.Floating(hidden);
        if (hidden.dim() == 0 || hidden.size(-1) != Design.Width)
            throw Require.Unfit(nameof(hidden), $"hidden has shape {Checks.Describe(hidden)}",
                $"a last dimension of {Design.Width}, the width of the model");
        Checks.SameDevice(hidden, Embedding, "the model");
        using var scope = NewDisposeScope();
        if (Modules.Linear.IsStep(hidden) && FewRowsLinear.ForwardFused(hidden, [(AdaptedHead, null)], false, new(IsWide: true)) is { } wide)
            return Bounded(wide[0]).MoveToOuterDisposeScope();
        if (Modules.Linear.IsStep(hidden))
            return Bounded(FewRowsLinear.Forward(hidden, AdaptedHead).to(ScalarType.Float32)).MoveToOuterDisposeScope();
        return Bounded(nn.functional.linear(hidden, HeadFor(hidden))).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    Tensor Bounded(Tensor logits)
    {
        logits = Scaled(logits, Design.LogitScale);
        return Design.LogitCap is { } cap ? logits.div(Scalars.From(cap)).tanh().mul(Scalars.From(cap)) : logits;
    }

    /// <summary>Computes the loss of predicting targets, without storing all logits.</summary>
    /// <param name="ids">Token ids, (batch, length) int64.</param>
    /// <param name="targets">
    /// The token after each of <paramref name="ids"/>, (batch, length) int64. -100 means that the position has no target.
    /// </param>
    /// <param name="context">Padding and documents. The default, null, means full rows of one document each.</param>
    /// <param name="weights">
    /// The weight of each token in the mean of the cross entropy and of the z-loss of the head: (batch, length) float32, each at least 0. With null,
    /// the default, all tokens have the same weight.
    /// </param>
    /// <returns>The losses in nats per token.</returns>
    public ModelLoss Loss(Tensor ids, Tensor targets, SequenceContext? context = null, Tensor? weights = null)
    {
        RequireAlive();
        CheckTargets(ids, targets);
        if (weights is not null && (weights.dtype != ScalarType.Float32 || !weights.shape.SequenceEqual(ids.shape)))
            throw Require.Unfit(nameof(weights), $"weights is {weights.dtype} [{string.Join(", ", weights.shape)}]",
                $"Float32 [{string.Join(", ", ids.shape)}], as ids");
        using var scope = NewDisposeScope();
        using var newContext = context is null ? new SequenceContext() : null;
        context ??= newContext!;
        var (total, crossEntropy) = LossOf(Hidden(ids, context), targets, context, weights);
        return new ModelLoss(total.MoveToOuterDisposeScope(), crossEntropy.MoveToOuterDisposeScope());
    }

    /// <summary>Computes the losses of a pass from the input of the head, as <see cref="Loss"/> does.</summary>
    internal ModelLoss LossOf(Tensor hidden, Tensor targets, SequenceContext context, Tensor? weights)
    {
        using var scope = NewDisposeScope();
        var crossEntropy = CrossEntropyOf(hidden, targets, weights);
        var total = crossEntropy;
        if (Design.HeadZLoss > 0 && Design.HeadZLossEverywhere)
        {
            // The z-loss does not depend on the target. With target 0 at every position, it is the difference of the losses with and without it.
            var all = zeros_like(targets);
            total = crossEntropy.add(CrossEntropyOf(hidden, all, null, Design.HeadZLoss) - CrossEntropyOf(hidden, all, null), Scalars.One);
        }
        else if (Design.HeadZLoss > 0) total = CrossEntropyOf(hidden, targets, weights, Design.HeadZLoss);
        foreach (var loss in context.AuxiliaryLosses) total = total.add(loss, Scalars.One);
        if (ReferenceEquals(total, crossEntropy)) total = crossEntropy.alias();
        return new ModelLoss(total.MoveToOuterDisposeScope(), crossEntropy.MoveToOuterDisposeScope());
    }

    /// <summary>Computes the mean cross entropy of targets from the input of the head, (batch, length, width).</summary>
    internal Tensor CrossEntropyOf(Tensor hidden, Tensor targets, Tensor? weights, double zLoss = 0) =>
        LinearCrossEntropy.Forward(hidden.reshape(-1, Design.Width), HeadForLoss(hidden), targets.reshape(-1), zLoss: zLoss,
            logitScale: Design.LogitScale, tokenWeights: weights?.reshape(-1), logitCap: Design.LogitCap);

    /// <summary>Computes the loss at every position, without a gradient: (batch, length) float32 in nats, 0 where the target is -100.</summary>
    /// <inheritdoc cref="Loss" path="/param[not(@name='weights')]"/>
    public Tensor TokenLosses(Tensor ids, Tensor targets, SequenceContext? context = null)
    {
        RequireAlive();
        CheckTargets(ids, targets);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var hidden = Hidden(ids, context);
        return LinearCrossEntropy.TokenLosses(
            hidden.reshape(-1, Design.Width), HeadFor(hidden), targets.reshape(-1), logitScale: Design.LogitScale,
            logitCap: Design.LogitCap).view(ids.size(0), ids.size(1)).MoveToOuterDisposeScope();
    }

    /// <summary>Does the work between optimizer steps, such as balancing experts. Call it once after each step.</summary>
    public void AfterStep() => stack.AfterStep();

    Tensor AdaptedHead => Adapter(HeadName) is { IsMerged: false } adapter ? Head.add(adapter.Update(), Scalars.One) : Head;

    /// <summary>
    /// Returns the weight of the head, with its adapter, for a loss of hidden vectors. On a GPU, the loss casts the weight itself: its gradient is
    /// then computed in float32.
    /// </summary>
    internal Tensor HeadForLoss(Tensor hidden) => hidden.device_type == TorchSharp.DeviceType.CUDA ? AdaptedHead : HeadFor(hidden);

    Tensor HeadFor(Tensor hidden)
    {
        var head = AdaptedHead;
        return head.dtype == hidden.dtype ? head : head.to(hidden.dtype);
    }

    void CheckIds(Tensor ids, string name)
    {
        Require.Alive(ids, name);
        if (ids.dim() != 2) throw Require.Unfit(name, $"{name} is [{string.Join(", ", ids.shape)}]", "(batch, length)");
        if (ids.dtype != ScalarType.Int64) throw Require.Refusal(name, ids.dtype, "Int64");
        if (ids.device_type != Device.type) throw Require.Refusal(name + ".device", ids.device, $"{Device}, the device of the model");
        // on the CPU the check costs little; on a GPU it would wait for the device, whose assertion detects the error
        if (ids.device_type != TorchSharp.DeviceType.CPU || ids.NumberOfElements == 0) return;
        using var scope = NewDisposeScope();
        long low = ids.min().item<long>(), high = ids.max().item<long>();
        if (low < 0 || high >= VocabularySize)
            throw Require.Holding(name, low < 0 ? low : high, $"0 to {VocabularySize - 1}, the ids of the vocabulary");
    }

    static void CheckTargets(Tensor ids, Tensor targets)
    {
        Require.Alive(ids);
        Require.Alive(targets);
        if (targets.dtype != ScalarType.Int64 || targets.dim() != ids.dim() || !targets.shape.SequenceEqual(ids.shape))
            throw Require.Unfit(nameof(targets), $"targets is {targets.dtype} [{string.Join(", ", targets.shape)}]",
                $"Int64 [{string.Join(", ", ids.shape)}], as ids");
    }
}
