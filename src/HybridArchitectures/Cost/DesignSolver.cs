using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Finds the depth or the feed-forward width at which a design has as many parameters or FLOPs as another design.</summary>
/// <example>
/// <code>
/// HybridDesign hybrid = HybridDesign.Create(128, 256).WithAttention(4).WithMamba2(32, 32).WithFeedForward(FeedForwardSpec.SwiGlu(352))
///     .Depth(6).Ratio(1, 5).Build();
/// HybridDesign plain = HybridDesign.Create(128, 256).WithAttention(4).WithFeedForward(FeedForwardSpec.SwiGlu(352)).Depth(6).Build();
/// SolvedDesign solved = DesignSolver.ByFeedForward(plain, DesignMeasure.Parameters, of: hybrid, multiple: 16);
/// Console.WriteLine($"{solved.Value:N0} for {solved.Target:N0} parameters, off by {solved.Error:P1}");
/// </code>
/// </example>
public static class DesignSolver
{
    /// <summary>Returns a measure of a design for sequences of the given length.</summary>
    public static double Measure(HybridDesign design, DesignMeasure measure, int sequenceLength = 8192)
    {
        Require.Defined(measure, nameof(measure));
        if (measure == DesignMeasure.TrainingFlops) return FlopCount.OfText(design, sequenceLength).Training;
        var count = ParameterCount.FromDesign(design);
        return measure switch
        {
            DesignMeasure.Parameters => count.Total,
            DesignMeasure.NonEmbeddingParameters => count.NonEmbedding,
            _ => count.ActiveNonEmbedding,
        };
    }

    /// <summary>Scales all feed-forwards of a design by one factor so that it matches another design as closely as possible.</summary>
    /// <param name="design">The design to change.</param>
    /// <param name="measure">The measure that is made equal.</param>
    /// <param name="of">The design to match.</param>
    /// <param name="multiple">The number of which the widths are multiples. The default is 64.</param>
    /// <param name="sequenceLength">The sequence length in tokens, for FLOPs. The default is 8,192.</param>
    /// <exception cref="ArgumentException">There is no feed-forward, or the rest of the design already exceeds the target.</exception>
    public static SolvedDesign ByFeedForward(
        HybridDesign design, DesignMeasure measure, HybridDesign of, int multiple = 64, int sequenceLength = 8192)
    {
        ArgumentNullException.ThrowIfNull(design);
        ArgumentNullException.ThrowIfNull(of);
        Require.That(multiple is >= 1 and <= Require.MaxSize, nameof(multiple), multiple, $"1 to {Require.MaxSize}");
        int widest = design.Blocks.Select(block => Width(block.FeedForward))
            .Concat(design.SharedTransformers.Select(transformer => transformer.FeedForward.Width)).Max();
        Require.That(widest > 0, nameof(design), design.Pattern, "a design with feed-forwards");
        double target = Measure(of, measure, sequenceLength);
        HybridDesign Scaled(int steps)
        {
            FeedForwardSpec Resized(FeedForwardSpec feedForward) => Scale(feedForward, (double)steps * multiple / widest, multiple);
            return design with
            {
                Blocks = [.. design.Blocks.Select(block => block with { FeedForward = Resized(block.FeedForward) })],
                SharedTransformers = [.. design.SharedTransformers.Select(
                transformer => transformer with { FeedForward = (SwiGluSpec)Resized(transformer.FeedForward) })],
            };
        }
        double minMeasure = Measure(Scaled(1), measure, sequenceLength);
        Require.That(
            minMeasure <= target, nameof(of), target,
            FormattableString.Invariant($"at least {minMeasure}, the value of the design with feed-forwards of width {multiple}"));
        return Nearest(Scaled, 1, Require.MaxSize / multiple, measure, target, sequenceLength);
    }

    /// <summary>
    /// Changes the depth of a design so that it matches another design as closely as possible. The kinds of blocks keep their order and shares: the
    /// i-th of m blocks is a copy of the block at the same relative depth among the n given ones, (i - 1/2) n / m, rounded up.
    /// </summary>
    /// <inheritdoc cref="ByDepth(Func{int, HybridDesignBuilder}, DesignMeasure, HybridDesign, int)"/>
    public static SolvedDesign ByDepth(HybridDesign design, DesignMeasure measure, HybridDesign of, int sequenceLength = 8192)
    {
        ArgumentNullException.ThrowIfNull(design);
        ArgumentNullException.ThrowIfNull(of);
        return ByDepth(depth => Deep(design, depth), measure, Measure(of, measure, sequenceLength), sequenceLength);
    }

    /// <summary>Finds the depth at which a builder matches another design as closely as possible. Depths that cannot be built are skipped.</summary>
    /// <param name="build">Returns the builder of a depth, for example <c>depth => start.Depth(depth).Ratio(1, 5)</c>.</param>
    /// <param name="measure">The measure that is made equal.</param>
    /// <param name="of">The design to match.</param>
    /// <param name="sequenceLength">The sequence length in tokens, for FLOPs. The default is 8,192.</param>
    /// <exception cref="ArgumentException">No depth can be built.</exception>
    public static SolvedDesign ByDepth(Func<int, HybridDesignBuilder> build, DesignMeasure measure, HybridDesign of, int sequenceLength = 8192)
    {
        ArgumentNullException.ThrowIfNull(build);
        ArgumentNullException.ThrowIfNull(of);
        return ByDepth(depth => build(depth).Build(), measure, Measure(of, measure, sequenceLength), sequenceLength);
    }

    static HybridDesign Deep(HybridDesign design, int depth)
    {
        var blocks = FirstValues.WithRankInFirst(design.Blocks);
        return design with
        {
            Blocks = FirstValues.WithoutRankInFirst(
                [.. Enumerable.Range(0, depth).Select(i => blocks[(int)((2L * i + 1) * blocks.Count / (2L * depth))])]),
        };
    }

    static SolvedDesign ByDepth(Func<int, HybridDesign> make, DesignMeasure measure, double target, int sequenceLength)
    {
        SolvedDesign? best = null;
        ArgumentException? refusal = null;
        int above = 0;
        // more blocks cost more, but the number of blocks of each kind changes in steps, so the search continues a little beyond the target
        for (int depth = 1; depth <= HybridDesign.MaxDepth && above < 4; depth++)
        {
            HybridDesign design;
            try
            {
                design = make(depth);
            }
            catch (ArgumentException exception)
            {
                refusal = exception;
                if (best is null && depth >= 256) break;
                continue;
            }
            double value = Measure(design, measure, sequenceLength);
            if (best is null || Math.Abs(value - target) < Math.Abs(best.Value - target)) best = new(design, value, target);
            if (value > target) above++;
        }
        return best ?? throw refusal!;
    }

    static SolvedDesign Nearest(Func<int, HybridDesign> make, int low, int high, DesignMeasure measure, double target, int sequenceLength)
    {
        // the last one that is not above the target, and the next one
        while (high - low > 1)
        {
            int middle = low + (high - low) / 2;
            if (Measure(make(middle), measure, sequenceLength) <= target) low = middle;
            else high = middle;
        }
        return ((SolvedDesign[])[Solved(low), Solved(high)]).MinBy(solved => Math.Abs(solved.Error))!;

        SolvedDesign Solved(int steps) => new(make(steps), Measure(make(steps), measure, sequenceLength), target);
    }

    static int Width(FeedForwardSpec feedForward) => feedForward switch
    {
        SwiGluSpec swiglu => swiglu.Width,
        MlpSpec mlp => mlp.Width,
        MixtureOfExpertsSpec experts => Math.Max(experts.ExpertWidth, experts.SharedWidth),
        _ => 0,
    };

    static FeedForwardSpec Scale(FeedForwardSpec feedForward, double factor, int multiple)
    {
        int Rounded(int width) => width == 0 ? 0
            : (int)Math.Clamp(Math.Round(width * factor / multiple, MidpointRounding.AwayFromZero) * multiple, multiple, Require.MaxSize);
        return feedForward switch
        {
            SwiGluSpec swiglu => swiglu with { Width = Rounded(swiglu.Width) },
            MlpSpec mlp => mlp with { Width = Rounded(mlp.Width) },
            MixtureOfExpertsSpec experts => experts with { ExpertWidth = Rounded(experts.ExpertWidth), SharedWidth = Rounded(experts.SharedWidth) },
            _ => feedForward,
        };
    }
}
