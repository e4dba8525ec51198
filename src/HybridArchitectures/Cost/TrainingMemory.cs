using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Bytes that training with AdamW holds at the end of a forward pass. Parameters, gradients and optimizer are exact (float32, two moments). Activations are an estimate: what the layers must keep
/// for their backward pass, each tensor once; buffers of kernels and the allocator's rounding come on top.
/// </summary>
/// <param name="Parameters">4 bytes each.</param>
/// <param name="Gradients">4 bytes each.</param>
/// <param name="Optimizer">8 bytes a parameter.</param>
/// <param name="Activations">The estimate.</param>
public sealed record TrainingMemory(long Parameters, long Gradients, long Optimizer, long Activations)
{
    /// <summary>All bytes.</summary>
    public long Total => Parameters + Gradients + Optimizer + Activations;

    /// <summary>For one batch of texts.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="length">Tokens of a row.</param>
    /// <param name="batch">Rows.</param>
    /// <param name="elementSize">Bytes of an activation: 2 for bfloat16, 4 for float32.</param>
    /// <param name="checkpointing">Blocks keep only their input and are computed again in the backward pass, one at a time.</param>
    /// <exception cref="ArgumentException">A number is out of range, or no model can be made of the design.</exception>
    public static TrainingMemory Of(HybridDesign design, long length, long batch = 1, int elementSize = 2, bool checkpointing = false)
    {
        Require.AtLeast(length, 1, nameof(length));
        Require.AtLeast(batch, 1, nameof(batch));
        Require.That(elementSize is 2 or 4 or 8, nameof(elementSize), elementSize, "2, 4 or 8 bytes");
        long parameters = 4 * ParameterCount.Of(design).Total;
        var blocks = design.Blocks.Select(block => Kept(block, design.Width, elementSize) + Shared(design, block, elementSize)).ToList();
        double input = (double)design.Width * elementSize;
        // embedding's output is the first block's input; then the last norm's input and output. The loss never holds a whole table of logits.
        double perToken = 2 * input + (checkpointing ? blocks.Count * input + blocks.Max() : blocks.Sum());
        // a window's mask is a table of the row's pairs, the same for all rows
        var masks = design.Blocks.Select(block => (IsMasked(block.Mixer, length) || IsMasked(design.SharedAttention(block), length) ? (double)length * length * elementSize : 0)).ToList();
        return new(parameters, parameters, 2 * parameters, (long)(perToken * length * batch + (checkpointing ? masks.Max() : masks.Sum())));
    }

    static bool IsMasked(MixerSpec? mixer, long length) => mixer switch
    {
        AttentionSpec attention => attention.Window < length,
        IntraHybridSpec intra => IsMasked(intra.Attention, length),
        _ => false,
    };

    // input and its norm's output, attention, what the second norm reads and gives, feed-forward, what the adapters hand on, and the mixer's own input
    static double Shared(HybridDesign design, BlockSpec block, int elementSize)
    {
        if (block.Shared is not { } use) return 0;
        var transformer = design.SharedTransformers[use.Transformer];
        double channels = 2.0 * transformer.InputWidth(design.Width) + 3.0 * design.Width + FeedForward(transformer.FeedForward, design.Width)
            + 3.0 * use.AttentionAdapterRank + use.FeedForwardAdapterRank + design.Width;
        return channels * elementSize + Mixer(transformer.Attention, transformer.InputWidth(design.Width), elementSize);
    }

    // bytes a token
    static double Kept(BlockSpec block, int width, int elementSize)
    {
        // a half's input and its norm's output
        double halves = (block.Mixer is null ? 0 : 2.0 * width) + (block.FeedForward.IsNone ? 0 : 2.0 * width);
        return (halves + FeedForward(block.FeedForward, width)) * elementSize + Mixer(block.Mixer, width, elementSize);
    }

    // gate, up, their product
    static double FeedForward(FeedForwardSpec feedForward, int width) => feedForward switch
    {
        SwiGluSpec swiglu => 3.0 * swiglu.Width,
        // up, and what the nonlinearity makes of it
        MlpSpec mlp => 2.0 * mlp.Width,
        // a copy of the token per expert it visits, what comes back, and the shared expert
        MixtureOfExpertsSpec experts => experts.ExpertsPerToken * ((experts.Gated ? 3.0 : 2.0) * experts.ExpertWidth + 2.0 * experts.InnerSpace(width))
            + (experts.Gated ? 3.0 : 2.0) * experts.SharedWidth + 2.0 * experts.Experts + 2.0 * experts.LatentWidth,
        _ => 0,
    };

    static double Mixer(MixerSpec? mixer, int width, int elementSize)
    {
        switch (mixer)
        {
            case AttentionSpec attention:
                // queries, keys, values, output, padded to one head size, and a float32 sum of exponentials a head
                double size = Math.Max(attention.HeadSize, attention.ValueHeadSize);
                return (2 * size * (attention.Heads + (double)attention.KeyValueHeads) + (attention.OutputGate ? 2.0 * attention.OutputWidth : 0)) * elementSize + 4.0 * attention.Heads;
            case Mamba2Spec mamba:
                // projection, convolution, scan, gated output, and a float32 state at each chunk
                return (3.0 * mamba.InnerWidth + 2.0 * mamba.ConvolutionChannels + mamba.Heads) * elementSize + 4.0 * mamba.InnerWidth * mamba.StateSize / mamba.ChunkSize;
            case Mamba1Spec mamba:
                // projection, convolution, time step, B, C, output, and a float32 state every 32 tokens
                return (5.0 * mamba.InnerWidth + mamba.TimeStepRank + 2.0 * mamba.StateSize) * elementSize + 4.0 * mamba.InnerWidth * mamba.StateSize / 32;
            case IntraHybridSpec intra:
                double normed = intra.Norm == BranchNorm.None ? 0 : (double)intra.Attention.OutputWidth + intra.InnerWidth;
                double fused = intra.Output == OutputProjection.Joint ? intra.InnerWidth : 0;
                return Mixer(intra.Attention, width, elementSize) + Mixer(intra.StateSpace, width, elementSize) + (normed + fused) * elementSize;
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
}
