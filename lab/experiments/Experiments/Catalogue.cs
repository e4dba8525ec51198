using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Experiments;

/// <summary>Lists the experiments in the order in which they should run: what decides most comes first.</summary>
/// <param name="size">The sizes.</param>
/// <param name="vocabularySize">The vocabulary size.</param>
sealed class Catalogue(StudySize size, int vocabularySize)
{
    /// <summary>Specifies the experiment that the others depend on.</summary>
    public const string LearningRatesName = "learning-rates";

    readonly Designs designs = new(size, vocabularySize);
    readonly Comparisons comparisons = new(size);

    /// <summary>Gets all experiments.</summary>
    public IReadOnlyList<Experiment> All => [Rates, Pareto, Placements, Intra, Next, Scaling, Recall, Tokens, WideRates];

    /// <summary>Gets the tasks of each run by name: those of every experiment that uses it, because a model is deleted when it is measured.</summary>
    public IReadOnlyDictionary<string, PartTasks> Measured => All.SelectMany(experiment => experiment.Parts)
        .SelectMany(part => part.Designs.Select(design => (Name: part.NameOf(design), part.Measured)))
        .GroupBy(item => item.Name, item => item.Measured).ToDictionary(group => group.Key, group => group.Aggregate((a, b) => a | b));

    Experiment Rates
    {
        get
        {
            ExperimentDesign[] starts = [designs.Transformer, designs.Mamba, designs.Inter(1, 3), designs.Intra(1, 3),
                designs.InterGatedDelta(1, 3), designs.InterMamba1(1, 3), designs.InterMamba3(1, 3)];
            var trials = starts.SelectMany(start => size.LearningRates.Select(rate =>
                (Design: start with { Name = LearningRates.TrialName(start.Class, rate) }, Rate: rate))).ToArray();
            return new(LearningRatesName, "Learning rates", "Each class of designs is trained with several peak learning rates at the base size, "
                + "with one seed. The best one by held-out loss is used everywhere.", trials[0].Design.Name,
                [new([.. trials.Select(trial => trial.Design)]) { Rates = [.. trials.Select(trial => trial.Rate)] }]) { Seeds = 1 };
        }
    }

    Experiment Pareto => new("pareto", "Quality, retrieval and cost", "Ratios of attention to Mamba-2 between layers and inside layers, with "
        + "sliding windows for comparison.", "attention", [new(AllRatios, PartTasks.Positions | PartTasks.Needle | PartTasks.Cost)])
        { Comparisons = comparisons.OfRatios };

    ExperimentDesign[] AllRatios => [designs.Transformer, designs.Mamba,
        .. Designs.Ratios.Select(ratio => designs.Inter(ratio.Attention, ratio.Ssm)),
        designs.Intra(1, 0), .. Designs.Ratios.Select(ratio => designs.Intra(ratio.Attention, ratio.Ssm)),
        designs.Windows(1, 5), designs.Windows()];

    IEnumerable<ExperimentDesign> Replaced => Sparse.SelectMany(ratio => (ExperimentDesign[])
        [designs.InterWithout(ratio.Attention, ratio.Ssm, "convolution", designs.Convolution),
            designs.InterWithout(ratio.Attention, ratio.Ssm, "linear attention", designs.LinearAttention)]);

    Experiment Recall => new("recall", "Recall", "Attention, Mamba-2, hybrids of both, and 1:5 with attention replaced, trained on the recall task "
        + "alone.", "attention", [new(RecallDesigns, PartTasks.Recall) { IsRecall = true }]);

    /// <summary>Gets the designs of the recall experiment.</summary>
    public IReadOnlyList<ExperimentDesign> RecallDesigns => [designs.Transformer, designs.Mamba, designs.Inter(1, 3), designs.Inter(1, 5),
        designs.Intra(1, 3), designs.Intra(1, 5), .. Replaced.Take(2)];

    Experiment Placements
    {
        get
        {
            var singles = Enumerable.Range(1, size.Depth).Select(designs.Single);
            var several = Dense.Where(IsPossible).ToArray();
            ExperimentDesign[] places = [designs.Mamba, designs.Transformer, .. singles,
                .. Dense.Select(ratio => designs.Inter(ratio.Attention, ratio.Ssm)),
                .. Dense.Select(ratio => designs.Intra(ratio.Attention, ratio.Ssm)),
                .. several.SelectMany(ratio => ((Placement[])[Placement.Front, Placement.End]).Select(placement =>
                    designs.Inter(ratio.Attention, ratio.Ssm, placement))),
                .. several.SelectMany(ratio => ((Placement[])[Placement.Clustered, Placement.Sandwich]).Select(placement =>
                    designs.Intra(ratio.Attention, ratio.Ssm, placement)))];
            return new("placement", "Placement", "One attention block at each depth of a stack of Mamba-2; attention at the front, in the middle and "
                + "at the end; blocks with both branches scattered, clustered and at both ends.", "mamba", [new(places)])
            { Comparisons = comparisons.OfPlacements };
        }
    }

    static readonly (int Attention, int Ssm)[] Dense = [(1, 5), (1, 3), (1, 1)], Sparse = [(1, 5), (1, 3)], Splits = [(7, 1), (3, 1), (1, 3), (1, 7)];

    // a sandwich needs two blocks
    bool IsPossible((int Attention, int Ssm) ratio) => Math.Round((double)size.Depth * ratio.Attention / (ratio.Attention + ratio.Ssm)) >= 2;

    Experiment Intra
    {
        get
        {
            var grid = from norm in (BranchNorm[])[BranchNorm.Group, BranchNorm.None, BranchNorm.Rms]
                       from fusion in (FusionKind[])[FusionKind.Difference, FusionKind.Add, FusionKind.Concat, FusionKind.Gate]
                       from output in (OutputProjection[])[OutputProjection.Separate, OutputProjection.Joint]
                       where fusion != FusionKind.Concat || output == OutputProjection.Joint
                       select designs.Intra(NameOf(norm, fusion, output), designs.Block(fusion, norm, output));
            ExperimentDesign[] variants = [designs.Intra(1, 0), .. grid.Skip(1),
                designs.Intra($"{NameOf(BranchNorm.Group, FusionKind.Difference, OutputProjection.Separate)}, scale", designs.Block(scale: true)),
                designs.Intra($"{NameOf(BranchNorm.Group, FusionKind.Add, OutputProjection.Joint)}, scale",
                    designs.Block(FusionKind.Add, output: OutputProjection.Joint, scale: true)),
                designs.Intra("shared values", designs.Block(sharedValues: true)),
                .. Splits.Select(split => designs.Intra($"widths {split.Attention}:{split.Ssm}",
                    designs.Block(attention: split.Attention, ssm: split.Ssm)))];
            return new("intra", "Blocks with both branches", "Fusion, norm, output projection, learned scale and widths of the branches, in stacks "
                + "of 12 such blocks. The baseline is a difference with a norm per head and separate projections.", "intra 1:0", [new(variants)])
            { Comparisons = Comparisons.OfBlocks };
        }
    }

    static string NameOf(BranchNorm norm, FusionKind fusion, OutputProjection output) =>
        $"{fusion}, {(norm == BranchNorm.None ? "no" : norm == BranchNorm.Rms ? "RMS" : "head")} norm, {output}".ToLowerInvariant();

    Experiment Next
    {
        get
        {
            ExperimentDesign[] main = [designs.Transformer, designs.Mamba, designs.Inter(1, 5), designs.Intra(1, 5)];
            ExperimentDesign[] mixers = [.. Sparse.SelectMany(ratio => (ExperimentDesign[])
                [designs.InterGatedDelta(ratio.Attention, ratio.Ssm), designs.InterMamba1(ratio.Attention, ratio.Ssm),
                    designs.InterMamba3(ratio.Attention, ratio.Ssm)])];
            ExperimentDesign[] noPositions = [designs.WithoutPositions(1, 0), designs.WithoutPositions(1, 5), designs.WithoutPositions(1, 3)];
            ExperimentDesign[] decays = [designs.InterFastDecays(1, 5), designs.InterSlowGatedDelta(1, 5)];
            return new("next", "Next checks", "Attention replaced by a convolution or by linear attention at the same positions; Mamba-2 replaced by "
                + "gated delta nets, Mamba-1 and Mamba-3; attention without positions; faster and slower decays at the start of training; half "
                + "and twice the training length at equal tokens; Muon.",
                "inter 1:5",
                [new([.. Replaced.Take(2)], PartTasks.Needle),
                    new([.. main, designs.Inter(1, 3), .. Replaced.Skip(2), .. mixers, .. noPositions, .. decays]),
                    new(main, PartTasks.Positions) { Context = 0.5 }, new(main, PartTasks.Positions) { Context = 2 },
                    new(main) { IsMuon = true }])
            { Comparisons = comparisons.OfNext };
        }
    }

    Experiment Scaling => new("scaling", "Scaling", "Four sizes of attention, of two ratios with Mamba-2 and of two ratios with gated delta nets, at "
        + "equal tokens. The rate falls with the root of the width.", "attention", [new([.. size.ScalingWidths.SelectMany(ScalingOf)])])
        { Comparisons = comparisons.OfSizes };

    /// <summary>Specifies the experiment with several numbers of tokens.</summary>
    public const string TokensName = "tokens";

    static readonly int[] tokenCounts = [1, 2, 4];

    Experiment Tokens
    {
        get
        {
            ExperimentDesign[] main = [designs.Transformer, designs.Mamba, designs.Inter(1, 5), designs.Intra(1, 5)];
            ExperimentDesign[] last = [designs.InterGatedDelta(1, 5)];
            return new(TokensName, "Tokens", "The tokens of the other experiments, twice and four times as many. All have the same warm-up, the "
                + "tuned rate, and a cool-down over the last fifth. A run with twice the tokens continues the longest one at its cool-down.",
                "attention",
                [.. tokenCounts.Select(count => new ExperimentPart(main) { Tokens = count }),
                    .. tokenCounts.Select(count => new ExperimentPart(last) { Tokens = count, IsLast = true })]);
        }
    }

    Experiment WideRates
    {
        get
        {
            ExperimentDesign[] wide = [.. ScalingOf(size.ScalingWidths[^1]).Where(design => design.Class is LearningRates.Attention
                || design.Family == "inter 1:5")];
            return new("wide-rates", "Learning rates at the largest width", "Attention and a hybrid at the largest width, with the rate of the "
                + "scaling experiment, half and a quarter of it, and one seed.", wide[0].Name,
                [new(wide), new(wide) { Rate = 0.5 }, new(wide) { Rate = 0.25 }]) { Seeds = 1 };
        }
    }

    // the base size has the names of the other experiments, so its runs are theirs
    IEnumerable<ExperimentDesign> ScalingOf(int width)
    {
        var at = new Designs(size, vocabularySize, width);
        ExperimentDesign[] kinds = [at.Transformer, at.Inter(1, 5), at.Inter(1, 1), at.InterGatedDelta(1, 5),
            at.InterGatedDelta(1, 1)];
        return kinds.Select(kind => kind with { Name = width == size.Width ? kind.Name : $"{kind.Name}, width {width}" });
    }
}
