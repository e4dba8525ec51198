using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>Represents the blocks of a design and its final norm: vectors in, vectors out, for models other than language models.</summary>
public sealed class HybridStack : HybridModule
{
    readonly IReadOnlyList<Block> blocks;
    readonly Norm norm;
    readonly Norm? embeddingNorm;
    readonly bool keepsEmbedded;

    /// <summary>Creates the stack of a design with the initialisation of the design.</summary>
    /// <param name="factory">Creates the parameters of <see cref="ModuleFactory.Design"/>.</param>
    /// <param name="compute">The type of activations and of the cache. The default is float32.</param>
    public HybridStack(ModuleFactory factory, ScalarType compute = ScalarType.Float32) : base(nameof(HybridStack))
    {
        ArgumentNullException.ThrowIfNull(factory);
        StateChecks.ComputeType(compute);
        ComputeType = compute;
        Width = factory.Width;
        var design = factory.Design;
        IReadOnlyList<SharedTransformer>? shared = null;
        if (design.SharedTransformers.Count > 0)
            shared = Add("shared", new ModuleSequence<SharedTransformer>(
                design.SharedTransformers.Select(spec => factory.At(1, spec.NormEpsilon, () => new SharedTransformer(factory, spec))))).Items;
        keepsEmbedded = shared is not null;
        blocks = Add("blocks", new ModuleSequence<Block>(
            design.Blocks.Select((spec, index) => factory.At(index + 1, spec.NormEpsilon, () => new Block(factory, spec, shared))))).Items;
        if (design.EmbeddingNorm) embeddingNorm = Add("embedding_norm", Norm.Create(factory, design.NormEpsilon));
        norm = Add("norm", Norm.Create(factory, design.NormEpsilon));
    }

    /// <summary>Gets the number of channels of the residual stream.</summary>
    public int Width { get; }

    /// <summary>Gets the type of activations and of the cache.</summary>
    public ScalarType ComputeType { get; }

    /// <summary>Gets the blocks in order.</summary>
    public IReadOnlyList<Block> Blocks => blocks;

    /// <summary>
    /// Gets or sets a callback for inspection with the arguments (block number from 0, residual stream after the block). Block -1 is the input of the
    /// stack, and the number of blocks is its output after the final norm. Do not change the tensors. The default is null.
    /// </summary>
    public Action<int, Tensor>? Observer { get; set; }

    /// <summary>
    /// Gets or sets whether only the input of each block is saved for the backward pass, which computes one block after another again (arXiv
    /// 1604.06174). Activation memory is then one input per block and the activations of the largest block, at the cost of one more forward pass.
    /// Gradients are bit-equal, including those of shared weights. Without gradients, the setting has no effect. The default is false.
    /// </summary>
    /// <remarks>
    /// Mixers that draw random numbers get those of the first pass again from the generator of torch on the CPU, but not from one on another device.
    /// </remarks>
    public bool ActivationCheckpointing { get; set; }

    /// <summary>
    /// Gets or sets the number of last blocks that save their activations although <see cref="ActivationCheckpointing"/> is on. They take time from
    /// the backward pass, and memory while it starts; later, gradients take the place of the activations. The default is 0.
    /// </summary>
    public int SavedBlocks
    {
        get;
        set => field = value >= 0 && value <= blocks.Count ? value
            : throw Require.OutOfRange(nameof(SavedBlocks), value, $"0 to {blocks.Count} blocks");
    }

    /// <summary>
    /// Gets or sets a callback for measurements of memory. With <see cref="ActivationCheckpointing"/>, it is called in the backward pass after each
    /// block that was computed again. The default is null.
    /// </summary>
    internal Action? BlockRecomputed { get; set; }

    /// <summary>Gets or sets what is called around the passes of every block. The default is null.</summary>
    internal BlockHooks? Hooks { get; set; }

    /// <summary>Creates an empty cache for <paramref name="batch"/> rows on the device of the parameters.</summary>
    public HybridCache CreateCache(int batch) => CreateCache(batch, null);

    internal HybridCache CreateCache(int batch, HybridDesign? design, ScalarType? stateType = null)
    {
        RequireAlive();
        Require.AtLeast(batch, 1);
        if (stateType is { } required) RequireStateType(required);
        using var scope = NewDisposeScope();
        var device = norm.Weight.device;
        MixerState? Create(Block block)
        {
            var state = block.CreateState(batch, ComputeType, device);
            return stateType is { } type ? state?.WithStateType(type) : state;
        }
        return new HybridCache([.. blocks.Select(Create)], new long[batch])
        {
            Design = design, StateType = stateType,
        };
    }

    /// <summary>Throws an exception if a cache cannot store recurrent states in a type.</summary>
    /// <exception cref="ArgumentException">The type is not supported. The message names the layer.</exception>
    internal void RequireStateType(ScalarType stateType, string name = "stateType")
    {
        var sums = SequenceChecks.StateType(ComputeType);
        if (stateType == sums) return;
        if (stateType != ScalarType.BFloat16 || sums != ScalarType.Float32)
            throw Require.Refusal(name, stateType, sums == ScalarType.Float32 ? "Float32 or BFloat16" : $"{sums}, as activations are");
        for (int index = 0; index < blocks.Count; index++)
            if (blocks[index].Mixer is { StoresNarrowStates: false } mixer)
                throw Require.Refusal(name, stateType, $"{sums}, because block {index + 1} has the mixer {mixer.GetType().Name}");
    }

    /// <summary>
    /// Computes (batch, length, width) from the same shape, after the final norm. A cache in the context is continued and updated, and then no
    /// gradient is recorded.
    /// </summary>
    public Tensor Forward(Tensor x, SequenceContext? context = null)
    {
        RequireAlive();
        Require.Alive(x);
        if (x.dim() != 3 || x.size(2) != Width)
            throw Require.Unfit(nameof(x), $"x is [{string.Join(", ", x.shape)}]", $"(batch, length, {Width})");
        using var newContext = context is null ? new SequenceContext() : null;
        context ??= newContext!;
        context.Cache?.RequireAlive();
        if (context.Cache is { } cache && cache.States.Count != blocks.Count)
            throw Require.Unfit(nameof(context), $"context has a cache for {cache.States.Count} blocks", $"{blocks.Count}, as the model has");
        using var scope = NewDisposeScope();
        using var noGrad = context.Cache is null ? null : no_grad();
        context.Begin(x.size(0), x.size(1), x.device);
        var given = x;
        if (x.dtype != ComputeType) x = x.to(ComputeType);
        if (x.size(0) == 0 || x.size(1) == 0) return norm.Forward(x).MoveToOuterDisposeScope();
        x = context.ToRightPadded(x);
        Observer?.Invoke(-1, x);
        if (embeddingNorm is not null) x = embeddingNorm.Forward(x);
        // separate nodes: the gradients of the readers are added before that of the first block, so that the order of sums is the same with
        // checkpointing
        if (keepsEmbedded) (context.Embedded, x) = (x.view_as(x), x.view_as(x));
        (x, var added) = ForwardBlocks(x, context, given);
        context.Embedded = null;
        context.DropFirstValues();
        context.Cache?.Advance(context);
        x = added is null ? norm.Forward(x) : norm.ForwardSum(x, added).Output;
        Observer?.Invoke(blocks.Count, x);
        return context.FromRightPadded(x).MoveToOuterDisposeScope();
    }

    // returns the residual stream after the last block, in two terms if the last block left its sum to the norm
    (Tensor Stream, Tensor? Added) ForwardBlocks(Tensor x, SequenceContext context, Tensor given)
    {
        Tensor? added = null;
        for (int i = 0; i < blocks.Count; i++)
        {
            context.Block = i;
            if (Hooks is { } hooks)
            {
                if (added is not null) (x, added) = (x.add(added, Scalars.One), null);
                int number = i;
                var output = hooks.Around(number, x, entering => ForwardBlock(number, entering, context));
                if (!ReferenceEquals(x, given)) x.Dispose();
                x = output;
                Observer?.Invoke(i, x);
                continue;
            }
            if (context.StepLengths is not null && blocks[i].HasPlainSums && Observer is null)
            {
                (x, added) = blocks[i].Step(x, added, context, context.Cache!.States[i]);
                continue;
            }
            if (added is not null) (x, added) = (x.add(added, Scalars.One), null);
            var next = ForwardBlock(i, x, context);
            if (!ReferenceEquals(next, x) && !ReferenceEquals(x, given)) x.Dispose();      // autograd saves the tensors that it needs
            x = next;
            Observer?.Invoke(i, x);
        }
        return (x, added);
    }

    Tensor ForwardBlock(int index, Tensor x, SequenceContext context) =>
        ActivationCheckpointing && index < blocks.Count - SavedBlocks && is_grad_enabled()
        ? CheckpointedBlock.Forward(blocks[index], x, context, BlockRecomputed) : blocks[index].Forward(x, context, context.Cache?.States[index]);

    /// <summary>Does the work between optimizer steps, such as balancing experts.</summary>
    public void AfterStep()
    {
        RequireAlive();
        foreach (var block in blocks) block.FeedForward?.AfterStep();
    }
}
