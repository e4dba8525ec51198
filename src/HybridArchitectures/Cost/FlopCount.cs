using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Cost;

/// <summary>Contains the floating-point operations per token. A multiplication and an addition count as two.</summary>
public sealed record FlopCount
{
    /// <summary>Gets or sets what was counted.</summary>
    public required FlopAccounting Accounting { get; init => field = Require.Defined(value, nameof(Accounting)); }

    /// <summary>Gets or sets the blocks, in order.</summary>
    public required EquatableList<BlockFlops> Blocks { get; init; }

    /// <summary>Gets or sets the FLOPs of the head, and of the norms outside blocks if norms count.</summary>
    public required double Head { get; init; }

    /// <summary>Gets the FLOPs of the forward pass per token.</summary>
    public double Forward => Blocks.Sum(block => block.Total) + Head;

    /// <summary>Gets the FLOPs of forward and backward per token: three times the forward pass.</summary>
    public double Training => 3 * Forward;

    /// <summary>
    /// Gets the FLOPs of training with activation checkpointing of every block: forward, backward, and the forward pass of the blocks again, without
    /// the last product of a SwiGLU.
    /// </summary>
    public double CheckpointedTraining => Training + Blocks.Sum(block => block.Total - block.NotRepeated);

    /// <summary>Returns the mean over the tokens of a sequence, as in training and prefill.</summary>
    /// <exception cref="ArgumentException">The length is below 1, or a model of the design is not possible.</exception>
    public static FlopCount OfText(HybridDesign design, long length, FlopAccounting accounting = FlopAccounting.Paper)
    {
        Require.AtLeast(length, 1, nameof(length));
        return Count(design, accounting, SeenTokens.FromRow(length));
    }

    /// <summary>Returns the FLOPs of one token with a cache that contains the <paramref name="position"/> tokens before it.</summary>
    /// <exception cref="ArgumentException">The position is below 0, or a model of the design is not possible.</exception>
    public static FlopCount OfStep(HybridDesign design, long position, FlopAccounting accounting = FlopAccounting.Paper)
    {
        Require.AtLeast(position, 0, nameof(position));
        return Count(design, accounting, SeenTokens.FromStep(position));
    }

    /// <summary>
    /// Returns forward and training FLOPs per token as text, for example <c>1.21 GFLOP forward, 3.63 GFLOP training per token (Paper)</c>.
    /// </summary>
    public override string ToString() => $"{Units.Flops(Forward)} forward, {Units.Flops(Training)} training per token ({Accounting})";

    static FlopCount Count(HybridDesign design, FlopAccounting accounting, SeenTokens seen)
    {
        Require.Defined(accounting, nameof(accounting));
        var parameters = ParameterCount.FromDesign(design);
        bool paper = accounting == FlopAccounting.Paper;
        int width = design.Width;
        return new()
        {
            Accounting = accounting,
            Head = paper ? 2.0 * parameters.FinalNorm : 2.0 * width * design.VocabularySize,
            Blocks = design.Blocks.Zip(parameters.Blocks, (block, count) => new BlockFlops(count.Position, count.Symbol,
                2.0 * (paper ? count.Mixer + count.Norms : (block.Mixer?.CountMatrixWeights(width) ?? 0)),
                Mixing(block.Mixer, width, accounting, seen), 2.0 * (count.ActiveFeedForward - (paper ? 0 : block.FeedForward.CountBiases(width))))
            {
                NotRepeated = NotRepeated(block, width),
                Shared = block.Shared is { } use ? Shared(use, design.SharedTransformers[use.Transformer], width, accounting, seen) : 0,
            }).ToEquatableList(),
        };
    }

    // a norm after the feed-forward reads the product
    static double NotRepeated(BlockSpec block, int width) => OperatorOptions.Current.RecomputeInputs && block.Norms != NormPlacement.After
        && block.FeedForward is SwiGluSpec { Activation: Activation.Silu } swiglu ? 2.0 * width * swiglu.Width : 0;

    static double Shared(SharedTransformerUse use, SharedTransformerSpec transformer, int width, FlopAccounting accounting, SeenTokens seen)
    {
        double weights = accounting == FlopAccounting.Paper ? transformer.CountParameters(width)
            : transformer.Attention.CountInputWeights(transformer.InputWidth(width)) + (double)transformer.Attention.OutputWidth * width
                + transformer.FeedForward.CountParameters(width) - transformer.FeedForward.CountBiases(width);
        return 2.0 * (weights + use.CountParameters(transformer, width)) + Mixing(transformer.Attention, width, accounting, seen);
    }

    static double Mixing(MixerSpec? mixer, int width, FlopAccounting accounting, SeenTokens seen)
    {
        if (mixer is null) return 0;
        double operations = mixer.CountMixingFlops(width, accounting, seen);
        Require.NotNegative(operations, $"{mixer.GetType().Name}.{nameof(MixerSpec.CountMixingFlops)}");
        return operations;
    }
}
