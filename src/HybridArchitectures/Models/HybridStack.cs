using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>The blocks of a design and its final norm: vectors in, vectors out, for models that are no language models.</summary>
public sealed class HybridStack : HybridModule
{
    readonly IReadOnlyList<Block> blocks;
    readonly RootMeanSquareNorm norm;
    readonly bool keepsEmbedded;

    /// <summary>The stack of a design, with the design's own initialisation.</summary>
    /// <param name="factory">Makes the parameters of <see cref="ModuleFactory.Design"/>.</param>
    /// <param name="compute">The type of activations and of the cache.</param>
    public HybridStack(ModuleFactory factory, ScalarType compute = ScalarType.Float32) : base(nameof(HybridStack))
    {
        ArgumentNullException.ThrowIfNull(factory);
        ModuleChecks.ComputeType(compute);
        ComputeType = compute;
        Width = factory.Width;
        var design = factory.Design;
        IReadOnlyList<SharedTransformer>? shared = null;
        if (design.SharedTransformers.Count > 0)
            shared = Add("shared", new ModuleSequence<SharedTransformer>(design.SharedTransformers.Select(spec => factory.At(1, spec.NormEpsilon, () => new SharedTransformer(factory, spec))))).Items;
        keepsEmbedded = shared is not null;
        blocks = Add("blocks", new ModuleSequence<Block>(design.Blocks.Select((spec, index) => factory.At(index + 1, spec.NormEpsilon, () => new Block(factory, spec, shared))))).Items;
        norm = Add("norm", new RootMeanSquareNorm(factory, factory.Width, factory.Design.NormEpsilon));
    }

    /// <summary>Channels of the residual stream.</summary>
    public int Width { get; }

    /// <summary>The type of activations and of the cache.</summary>
    public ScalarType ComputeType { get; }

    /// <summary>The blocks in order.</summary>
    public IReadOnlyList<Block> Blocks => blocks;

    /// <summary>Called with (block number from 0, residual stream after it); -1 is the stack's input and the number of blocks its normed output. For looking, not for changing.</summary>
    public Action<int, Tensor>? Observer { get; set; }

    /// <summary>
    /// Keep of each block only its input for the backward pass, and compute the block again there, one at a time (arXiv 1604.06174): activation memory falls to one input a block and the
    /// largest block, for one more forward pass. Gradients are the same bit for bit, also of weights that several blocks share. Where no gradient is recorded it changes nothing.
    /// </summary>
    /// <remarks>Mixers that draw random numbers get those of the first pass again from torch's generator on the CPU, not from one on another device.</remarks>
    public bool ActivationCheckpointing { get; set; }

    /// <summary>An empty cache for <paramref name="batch"/> rows, where the parameters live.</summary>
    public HybridCache CreateCache(int batch) => CreateCache(batch, null);

    internal HybridCache CreateCache(int batch, HybridDesign? design)
    {
        RequireAlive();
        ArgumentOutOfRangeException.ThrowIfLessThan(batch, 1);
        using var scope = NewDisposeScope();
        var device = norm.Weight.device;
        return new HybridCache([.. blocks.Select(block => block.CreateState(batch, ComputeType, device))], new long[batch])
        {
            Design = design, StepsOnDevice = device.type == TorchSharp.DeviceType.CUDA,
        };
    }

    /// <summary>(batch, length, width) to the same shape, after the final norm. With a cache in the context, it is continued and updated, and no gradient is recorded.</summary>
    public Tensor Forward(Tensor x, SequenceContext? context = null)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(x);
        if (x.dim() != 3 || x.size(2) != Width)
            throw new ArgumentException($"x is [{string.Join(", ", x.shape)}]; expected (batch, length, {Width})", nameof(x));
        using var own = context is null ? new SequenceContext() : null;
        context ??= own!;
        context.Cache?.RequireAlive();
        if (context.Cache is { } cache && cache.States.Count != blocks.Count)
            throw new ArgumentException($"the cache was made for {cache.States.Count} blocks; this model has {blocks.Count}", nameof(context));
        using var scope = NewDisposeScope();
        using var noGrad = context.Cache is null ? null : no_grad();
        context.Begin(x.size(0), x.size(1), x.device);
        var given = x;
        if (x.dtype != ComputeType) x = x.to(ComputeType);
        if (x.size(0) == 0 || x.size(1) == 0) return norm.Forward(x).MoveToOuterDisposeScope();
        x = context.ToRightPadded(x);
        Observer?.Invoke(-1, x);
        // nodes of their own: the readers' gradients meet, and the first block's, before the two are added: one order of sums, also with checkpointing
        if (keepsEmbedded) (context.Embedded, x) = (x.view_as(x), x.view_as(x));
        Tensor? added = null;
        for (int i = 0; i < blocks.Count; i++)
        {
            context.Block = i;
            if (context.StepLengths is not null && blocks[i].HasPlainSums && Observer is null)
            {
                (x, added) = blocks[i].Step(x, added, context, context.Cache!.States[i]);
                continue;
            }
            if (added is not null) (x, added) = (x.add(added, Scalars.One), null);
            var next = ActivationCheckpointing && is_grad_enabled() ? CheckpointedBlock.Forward(blocks[i], x, context) : blocks[i].Forward(x, context, context.Cache?.States[i]);
            if (!ReferenceEquals(next, x) && !ReferenceEquals(x, given)) x.Dispose();      // autograd keeps what it needs
            x = next;
            Observer?.Invoke(i, x);
        }
        context.Embedded = null;
        context.Cache?.Advance(context);
        x = added is null ? norm.Forward(x) : norm.ForwardSum(x, added).Output;
        Observer?.Invoke(blocks.Count, x);
        return context.FromRightPadded(x).MoveToOuterDisposeScope();
    }

    /// <summary>Work between optimizer steps, such as balancing experts.</summary>
    public void AfterStep()
    {
        RequireAlive();
        foreach (var block in blocks) block.FeedForward?.AfterStep();
    }
}
