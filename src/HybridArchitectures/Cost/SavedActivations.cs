using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Cost;

/// <summary>Estimates the bytes that blocks save for backward.</summary>
sealed class SavedActivations(int elementSize, long length, long batch, bool cuda)
{
    readonly double tokens = (double)length * batch;

    /// <summary>Returns the bytes of one block for all tokens, including its input.</summary>
    public double Bytes(HybridDesign design, BlockSpec block)
    {
        // the input of each half and the output of its norm
        double halves = (block.Mixer is null ? 0 : 2.0 * design.Width) + (block.FeedForward.IsNone ? 0 : 2.0 * design.Width);
        double perToken = halves * elementSize + FeedForward(block.FeedForward, design.Width) + Mixer(block.Mixer, design.Width) + Shared(design, block);
        // the mask of a window is a table of all pairs of tokens, the same for all rows
        double mask = IsMasked(block.Mixer) || IsMasked(design.SharedAttention(block)) ? (double)length * length * elementSize : 0;
        return perToken * tokens + mask;
    }

    bool IsMasked(MixerSpec? mixer) => mixer switch
    {
        AttentionSpec attention => attention.Window < length,
        IntraHybridSpec intra => IsMasked(intra.Attention),
        _ => false,
    };

    // the input and its norm, attention, the second norm and its input, the feed-forward, the outputs of adapters, and the input of the mixer
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
                // gate, up, and their product
                return 3.0 * swiglu.Width * elementSize;
            case MlpSpec mlp:
                // up, and the output of the nonlinearity
                return 2.0 * mlp.Width * elementSize;
            case MixtureOfExpertsSpec experts:
                // a copy of the token per selected expert, its output, and the shared expert
                double layers = experts.Gated ? 3 : 2;
                double channels = experts.ExpertsPerToken * (layers * experts.ExpertWidth + 2.0 * experts.InnerSpace(width)) + layers * experts.SharedWidth + 2.0 * experts.LatentWidth;
                // the scores and the input of the router in float32, and the source and destination of each assignment
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
                // queries, keys, values and output, padded to one head size, and a float32 sum of exponentials per head
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
                // input and output of the convolution, the gate, the input of the norm, the input of the output projection
                double channels = 2.0 * delta.ConvolutionChannels + 3.0 * delta.ValueWidth;
                // float32, per head: five tables of a chunk, rates, queries, keys and values as inputs of products, the solution, and one state per
                // chunk
                double tables = delta.ValueHeads * (5.0 * delta.ChunkSize + 8 + 6.0 * delta.KeyHeadSize + 3.0 * delta.ValueHeadSize);
                return channels * elementSize + 4.0 * tables + 4.0 * delta.ValueWidth * delta.KeyHeadSize / delta.ChunkSize;
            case ShortConvolutionSpec:
                // projection, input and output of the convolution, input of the output projection
                return 6.0 * width * elementSize;
            case CustomMixerSpec:
                return 2.0 * width * elementSize;
            default:
                return 0;
        }
    }

    // returns the channels between the branches and the residual stream; the outputs of the branches are counted with the branches
    double Fusion(IntraHybridSpec intra, int width)
    {
        double branches = (double)intra.Attention.OutputWidth + intra.InnerWidth, normed = intra.Norm == BranchNorm.None ? 0 : branches;
        // the projections read normalized and scaled branches; a gate, and the CUDA kernel that joins the branches, read the outputs of the
        // projections
        if (intra.Output == OutputProjection.Separate)
            return normed + (intra.LearnedScale ? branches : 0) + (cuda || intra.Fusion == FusionKind.Gate ? 2.0 * width : 0);
        double joined = intra.Fusion == FusionKind.Concat ? branches : intra.InnerWidth;
        return joined + (cuda ? 0 : normed);
    }
}
