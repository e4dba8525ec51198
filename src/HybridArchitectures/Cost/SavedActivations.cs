using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Cost;

/// <summary>Bytes that blocks keep between their forward and their backward pass.</summary>
sealed class SavedActivations(int elementSize, long length, long batch, bool cuda)
{
    readonly double tokens = (double)length * batch;

    /// <summary>Of one block for all tokens, the input among it.</summary>
    public double Bytes(HybridDesign design, BlockSpec block)
    {
        // a half's input and its norm's output
        double halves = (block.Mixer is null ? 0 : 2.0 * design.Width) + (block.FeedForward.IsNone ? 0 : 2.0 * design.Width);
        double perToken = halves * elementSize + FeedForward(block.FeedForward, design.Width) + Mixer(block.Mixer, design.Width) + Shared(design, block);
        // a window's mask is a table of the row's pairs, the same for all rows
        double mask = IsMasked(block.Mixer) || IsMasked(design.SharedAttention(block)) ? (double)length * length * elementSize : 0;
        return perToken * tokens + mask;
    }

    bool IsMasked(MixerSpec? mixer) => mixer switch
    {
        AttentionSpec attention => attention.Window < length,
        IntraHybridSpec intra => IsMasked(intra.Attention),
        _ => false,
    };

    // input and its norm's output, attention, what the second norm reads and gives, feed-forward, what the adapters hand on, and the mixer's own input
    double Shared(HybridDesign design, BlockSpec block)
    {
        if (block.Shared is not { } use) return 0;
        var transformer = design.SharedTransformers[use.Transformer];
        double channels = 2.0 * transformer.InputWidth(design.Width) + 3.0 * design.Width + 3.0 * use.AttentionAdapterRank + use.FeedForwardAdapterRank + design.Width;
        return channels * elementSize + FeedForward(transformer.FeedForward, design.Width) + Mixer(transformer.Attention, transformer.InputWidth(design.Width));
    }

    double FeedForward(FeedForwardSpec feedForward, int width)
    {
        switch (feedForward)
        {
            case SwiGluSpec swiglu:
                // gate, up, their product
                return 3.0 * swiglu.Width * elementSize;
            case MlpSpec mlp:
                // up, and what the nonlinearity makes of it
                return 2.0 * mlp.Width * elementSize;
            case MixtureOfExpertsSpec experts:
                // a copy of the token per expert it visits, what comes back, and the shared expert
                double layers = experts.Gated ? 3 : 2;
                double channels = experts.ExpertsPerToken * (layers * experts.ExpertWidth + 2.0 * experts.InnerSpace(width)) + layers * experts.SharedWidth + 2.0 * experts.LatentWidth;
                // the router's scores, and what it reads, in float32; where each visit comes from and goes to
                double router = 4.0 * (2.0 * experts.Experts + (elementSize == 4 ? 0 : width)) + 8.0 * 4 * experts.ExpertsPerToken;
                return channels * elementSize + router;
            default:
                return 0;
        }
    }

    double Mixer(MixerSpec? mixer, int width)
    {
        switch (mixer)
        {
            case AttentionSpec attention:
                // queries, keys, values, output, padded to one head size, and a float32 sum of exponentials a head
                double size = Math.Max(attention.HeadSize, attention.ValueHeadSize);
                return (2 * size * (attention.Heads + (double)attention.KeyValueHeads) + (attention.OutputGate ? 2.0 * attention.OutputWidth : 0)) * elementSize + 4.0 * attention.Heads;
            case Mamba2Spec mamba:
                // projection, convolution, scan, gated output
                return (3.0 * mamba.InnerWidth + 2.0 * mamba.ConvolutionChannels + mamba.Heads) * elementSize
                    + SavedStateMemory.StateSpaceDual(mamba.Heads, mamba.HeadSize, mamba.Groups, mamba.StateSize, mamba.ChunkSize, elementSize, tokens, cuda);
            case Mamba1Spec mamba:
                // projection, convolution, time step, B, C, output
                return (5.0 * mamba.InnerWidth + mamba.TimeStepRank + 2.0 * mamba.StateSize) * elementSize + SavedStateMemory.SelectiveScan(mamba.InnerWidth, mamba.StateSize, cuda);
            case IntraHybridSpec intra:
                return Mixer(intra.Attention, width) + Mixer(intra.StateSpace, width) + Fusion(intra, width) * elementSize;
            case GatedDeltaSpec delta:
                // the convolution's input and output, the gate, what is normed, what is projected out
                double channels = 2.0 * delta.ConvolutionChannels + 3.0 * delta.ValueWidth;
                // float32, per head: five tables of a chunk, rates, queries, keys and values as the products take them, what is solved for, and a state at each chunk
                double tables = delta.ValueHeads * (5.0 * delta.ChunkSize + 8 + 6.0 * delta.KeyHeadSize + 3.0 * delta.ValueHeadSize);
                return channels * elementSize + 4.0 * tables + 4.0 * delta.ValueWidth * delta.KeyHeadSize / delta.ChunkSize;
            case ShortConvolutionSpec:
                // projection, what is convolved, the convolution, what is projected out
                return 6.0 * width * elementSize;
            case CustomMixerSpec:
                return 2.0 * width * elementSize;
            default:
                return 0;
        }
    }

    // channels between the branches and the residual stream; the branches' own outputs are counted with them
    double Fusion(IntraHybridSpec intra, int width)
    {
        double branches = (double)intra.Attention.OutputWidth + intra.InnerWidth, normed = intra.Norm == BranchNorm.None ? 0 : branches;
        // normed and scaled branches are what the projections read; a gate reads what they give, and so does the kernel that joins them on a card
        if (intra.Output == OutputProjection.Separate)
            return normed + (intra.LearnedScale ? branches : 0) + (cuda || intra.Fusion == FusionKind.Gate ? 2.0 * width : 0);
        double joined = intra.Fusion == FusionKind.Concat ? branches : intra.InnerWidth;
        return joined + (cuda ? 0 : normed);
    }
}
