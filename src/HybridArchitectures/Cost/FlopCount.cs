using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Contains the floating-point operations per token. A multiplication and an addition count as two.</summary>
public sealed record FlopCount
{
    /// <summary>Gets or sets what was counted.</summary>
    public required FlopAccounting Accounting { get; init; }

    /// <summary>Gets or sets the blocks, in order.</summary>
    public required EquatableList<BlockFlops> Blocks { get; init; }

    /// <summary>Gets or sets the FLOPs of the head, and of the last norm if norms count.</summary>
    public required double Head { get; init; }

    /// <summary>Gets the FLOPs of the forward pass per token.</summary>
    public double Forward => Blocks.Sum(block => block.Total) + Head;

    /// <summary>Gets the FLOPs of forward and backward per token: three times the forward pass.</summary>
    public double Training => 3 * Forward;

    /// <summary>
    /// Gets the FLOPs of training with activation checkpointing of every block: forward, backward, and the forward pass of the blocks again.
    /// </summary>
    public double CheckpointedTraining => Training + Blocks.Sum(block => block.Total);

    /// <summary>Returns the mean over the tokens of a sequence, as in training and prefill.</summary>
    /// <exception cref="ArgumentException">The length is below 1, or a model of the design is not possible.</exception>
    public static FlopCount OfText(HybridDesign design, long length, FlopAccounting accounting = FlopAccounting.Paper)
    {
        Require.AtLeast(length, 1, nameof(length));
        return Count(design, accounting, window => VisibleKeys.Mean(length, window), length);
    }

    /// <summary>Returns the FLOPs of one token with a cache that contains the <paramref name="position"/> tokens before it.</summary>
    /// <exception cref="ArgumentException">The position is below 0, or a model of the design is not possible.</exception>
    public static FlopCount OfStep(HybridDesign design, long position, FlopAccounting accounting = FlopAccounting.Paper)
    {
        Require.AtLeast(position, 0, nameof(position));
        return Count(design, accounting, window => Math.Min(position + 1, window), null);
    }

    /// <summary>
    /// Returns forward and training FLOPs per token as text, for example <c>1.21 GFLOP forward, 3.63 GFLOP training per token (Paper)</c>.
    /// </summary>
    public override string ToString() => $"{Units.Flops(Forward)} forward, {Units.Flops(Training)} training per token ({Accounting})";

    static FlopCount Count(HybridDesign design, FlopAccounting accounting, Func<long, double> visible, long? length)
    {
        Require.Defined(accounting, nameof(accounting));
        var parameters = ParameterCount.FromDesign(design);
        bool paper = accounting == FlopAccounting.Paper;
        int width = design.Width;
        return new()
        {
            Accounting = accounting,
            Head = paper ? 2.0 * width : 2.0 * width * design.VocabularySize,
            Blocks = design.Blocks.Zip(parameters.Blocks, (block, count) => new BlockFlops(count.Position, count.Symbol,
                2.0 * (paper ? count.Mixer + count.Norms : MatrixWeights(block.Mixer, width)),
                Mixing(block.Mixer, width, accounting, visible, length), 2.0 * (count.ActiveFeedForward - (paper ? 0 : block.FeedForward.CountBiases(width))))
            {
                Shared = block.Shared is { } use ? Shared(use, design.SharedTransformers[use.Transformer], width, accounting, visible, length) : 0,
            }).ToEquatableList(),
        };
    }

    static double Shared(SharedTransformerUse use, SharedTransformerSpec transformer, int width, FlopAccounting accounting, Func<long, double> visible, long? length)
    {
        double weights = accounting == FlopAccounting.Paper ? transformer.CountParameters(width)
            : AttentionInputs(transformer.Attention, transformer.InputWidth(width), false) + (double)transformer.Attention.OutputWidth * width
                + transformer.FeedForward.CountParameters(width) - transformer.FeedForward.CountBiases(width);
        return 2.0 * (weights + use.CountParameters(transformer, width)) + Mixing(transformer.Attention, width, accounting, visible, length);
    }

    /// <summary>Returns the number of entries of the weight matrices with which a token is multiplied.</summary>
    static double MatrixWeights(MixerSpec? mixer, int width) => mixer switch
    {
        null => 0,
        ShortConvolutionSpec => 4.0 * width * width,
        GatedDeltaSpec delta => ((double)delta.ProjectedWidth + delta.ValueWidth) * width,
        AttentionSpec attention => AttentionInputs(attention, width, false) + (double)attention.OutputWidth * width,
        Mamba1Spec or Mamba2Spec => StateSpaceInputs(mixer, width) + (double)((IStateSpaceSpec)mixer).InnerWidth * width,
        IntraHybridSpec intra => AttentionInputs(intra.Attention, width, intra.SharedValues) + StateSpaceInputs(intra.StateSpace, width)
            + (double)width * (intra.Output == OutputProjection.Separate || intra.Fusion == FusionKind.Concat ? intra.Attention.OutputWidth + intra.InnerWidth : intra.InnerWidth),
        _ => mixer.CountParameters(width),
    };

    static double AttentionInputs(AttentionSpec attention, int width, bool sharedValues) =>
        ((double)attention.QueryProjectionWidth + attention.KeyWidth + (sharedValues ? 0 : attention.ValueWidth)) * width;

    static double StateSpaceInputs(MixerSpec mixer, int width) => mixer switch
    {
        Mamba2Spec mamba => (mamba.InnerWidth + (double)mamba.ConvolutionChannels + mamba.Heads) * width,
        Mamba1Spec mamba => 2.0 * mamba.InnerWidth * width + mamba.InnerWidth * (2.0 * mamba.TimeStepRank + 2.0 * mamba.StateSize),
        _ => 0,
    };

    static double Mixing(MixerSpec? mixer, int width, FlopAccounting accounting, Func<long, double> visible, long? length)
    {
        switch (mixer)
        {
            case AttentionSpec attention:
                return 2.0 * ((double)attention.QueryWidth + attention.OutputWidth) * visible(VisibleKeys.Span(attention));
            case IntraHybridSpec intra:
                return Mixing(intra.Attention, width, accounting, visible, length) + Mixing(intra.StateSpace, width, accounting, visible, length);
            case IStateSpaceSpec stateSpace when accounting == FlopAccounting.Paper:
                return 9.0 * stateSpace.InnerWidth * stateSpace.StateSize + 2.0 * stateSpace.InnerWidth;
            case Mamba2Spec mamba when length is { } tokens:
                double chunk = Math.Min(mamba.ChunkSize, tokens);
                return 2.0 * mamba.Groups * mamba.StateSize * chunk + 2.0 * mamba.InnerWidth * chunk + 4.0 * mamba.InnerWidth * mamba.StateSize;
            case IStateSpaceSpec stateSpace:
                return 4.0 * stateSpace.InnerWidth * stateSpace.StateSize;
            // decay, read by the key, write, read by the query
            case GatedDeltaSpec delta when accounting == FlopAccounting.Paper:
                return 7.0 * delta.ValueWidth * delta.KeyHeadSize;
            case GatedDeltaSpec delta when length is { } tokens:
                double size = Math.Min(delta.ChunkSize, tokens);
                return delta.ValueHeads * size * (5.0 * delta.KeyHeadSize + 3.0 * delta.ValueHeadSize) + 6.0 * delta.ValueWidth * delta.KeyHeadSize;
            case GatedDeltaSpec delta:
                return 6.0 * delta.ValueWidth * delta.KeyHeadSize;
            case CustomMixerSpec custom:
                double operations = custom.CountMixingFlops(width, visible(long.MaxValue));
                Require.NotNegative(operations, $"{custom.GetType().Name}.{nameof(CustomMixerSpec.CountMixingFlops)}");
                return operations;
            default:
                return 0;
        }
    }
}
