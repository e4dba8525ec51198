using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Computes the bytes that blocks save between their forward and their backward pass.</summary>
sealed class SavedActivations(TrainingStepShape step)
{
    readonly int elementSize = step.ElementSize;

    /// <summary>Returns the bytes of one block for all tokens, including its input.</summary>
    public double Bytes(HybridDesign design, BlockSpec block)
    {
        // the input of each half and, unless projections compute it again, the output of its norm
        bool savesNorms = !step.RecomputesNorms || block.Norms != NormPlacement.Before || design.NormKind != NormKind.RootMeanSquare;
        double Half(bool savesInput) => (savesNorms || savesInput ? 2.0 : 1) * design.Width;
        double halves = (block.Mixer is null ? 0 : Half(block.Mixer.SavesInput))
            + (block.FeedForward.IsNone ? 0 : Half(block.FeedForward is MlpSpec { TokenShift: true }));
        double perToken = halves * elementSize + FeedForward(block.FeedForward, design.Width)
            + (block.Mixer?.CountSavedActivations(design.Width, step) ?? 0) + Shared(design, block);
        // a window's mask is a table of the row's pairs, the same for all rows
        bool masked = block.Mixer?.NeedsMask(step) == true || design.SharedAttention(block)?.NeedsMask(step) == true;
        return perToken * step.Tokens + (masked ? (double)step.Length * step.Length * elementSize : 0);
    }

    // the input and the output of its norm, attention, the input and output of the second norm, the feed-forward, the inner vectors of the adapters,
    // and the input of the mixer
    double Shared(HybridDesign design, BlockSpec block)
    {
        if (block.Shared is not { } use) return 0;
        var transformer = design.SharedTransformers[use.Transformer];
        double channels = 2.0 * transformer.InputWidth(design.Width) + 3.0 * design.Width + 3.0 * use.AttentionAdapterRank
            + use.FeedForwardAdapterRank + design.Width;
        return channels * elementSize + FeedForward(transformer.FeedForward, design.Width)
            + transformer.Attention.CountSavedActivations(transformer.InputWidth(design.Width), step);
    }

    // gate, up, and their product, which is computed again with SiLU
    double GatedWidths(Activation activation) => activation == Activation.Silu && step.RecomputesInputs ? 2 : 3;

    double FeedForward(FeedForwardSpec feedForward, int width)
    {
        switch (feedForward)
        {
            case SwiGluSpec swiglu:
                return GatedWidths(swiglu.Activation) * swiglu.Width * elementSize;
            case MlpSpec mlp:
                // up, and the output of the nonlinearity; previous tokens, their difference, and the mixture
                return (2.0 * mlp.Width + (mlp.TokenShift ? 3.0 * width : 0)) * elementSize;
            case MixtureOfExpertsSpec experts:
                // a copy of the token per selected expert, its output, and the shared expert; where weights precede the experts, a copy without the
                // weight instead of the output, except on a GPU
                double copies = experts.ScoreBeforeExperts && step.Gpu is not null ? 1 : 2;
                double layers = experts.Gated ? GatedWidths(experts.Activation) : 2;
                double channels = experts.ExpertsPerToken * (layers * experts.ExpertWidth + copies * experts.InnerSpace(width))
                    + layers * experts.SharedWidth + 2.0 * experts.LatentWidth;
                // the scores in float32, and the source and destination of each assignment; the input of the router is cast again in bfloat16
                bool savesInput = elementSize != 4 && !(elementSize == 2 && step.RecomputesInputs);
                double router = 4.0 * (2.0 * experts.Experts + (savesInput ? width : 0)) + 8.0 * 4 * experts.ExpertsPerToken;
                return channels * elementSize + router;
            default:
                return 0;
        }
    }
}
