using HybridArchitectures.Cost;

namespace HybridArchitectures.Experiments;

/// <summary>Contains how much an experiment trains, without the runs that an earlier one makes.</summary>
/// <param name="Name">The name of the experiment.</param>
/// <param name="Runs">The number of runs.</param>
/// <param name="Tokens">The tokens of all runs. Steps that runs share count once.</param>
/// <param name="Flops">The training FLOPs.</param>
/// <param name="MinParameters">The minimum number of parameters without embedding.</param>
/// <param name="MaxParameters">The maximum number of parameters without embedding.</param>
sealed record ExperimentSize(string Name, int Runs, double Tokens, double Flops, double MinParameters, double MaxParameters)
{
    // assumptions for four processes that share an H200: twice the 1.6 million tokens/s of one at the base size, and a rate for wide models
    const double TokensPerSecond = 3.2e6, FlopsPerSecond = 3.5e14, SecondsPerRun = 0.5;

    // of a run that continues the trunk, its cool-down remains
    const double BranchShare = 0.2;

    /// <summary>Gets the estimated seconds of four processes on one H200.</summary>
    public double Seconds => Math.Max(Tokens / TokensPerSecond, Flops / FlopsPerSecond) + SecondsPerRun * Runs;

    /// <summary>Returns the size of an experiment.</summary>
    /// <param name="experiment">The experiment.</param>
    /// <param name="size">The sizes of the study.</param>
    /// <param name="known">The names of the runs of earlier experiments, to which those of this one are added.</param>
    public static ExperimentSize Of(Experiment experiment, StudySize size, ISet<string> known)
    {
        int seeds = experiment.SeedsOf(size).Count, longest = experiment.Parts.Max(part => part.Tokens);
        var sum = new ExperimentSize(experiment.Name, 0, 0, 0, double.MaxValue, 0);
        foreach (var part in experiment.Parts)
            foreach (var design in part.Designs.Where(design => known.Add(part.NameOf(design))))
            {
                double each = part.IsRecall ? (double)size.Recall.TokensPerStep * size.Recall.Steps
                    : (double)size.TokensPerStep * size.Steps * part.Tokens * (part.Tokens > 1 && part.Tokens < longest ? BranchShare : 1);
                double parameters = design.Design.CountParameters().NonEmbedding;
                int context = part.IsRecall ? size.Recall.Length : (int)(part.Context * size.ContextLength);
                sum = sum with
                {
                    Runs = sum.Runs + seeds, Tokens = sum.Tokens + seeds * each,
                    Flops = sum.Flops + seeds * each * design.Design.Cost(context).Flops().Training,
                    MinParameters = Math.Min(sum.MinParameters, parameters), MaxParameters = Math.Max(sum.MaxParameters, parameters),
                };
            }
        return sum;
    }

    /// <summary>Returns the numbers as one line.</summary>
    public override string ToString() =>
        FormattableString.Invariant($"{Name,-15} {Runs,4} runs {Tokens / 1e6,8:0} million tokens {Flops / 1e15,8:0.0} PFLOPs {Seconds,6:0} s, ")
        + FormattableString.Invariant($"{MinParameters / 1e6:0.00} to {MaxParameters / 1e6:0.00} million parameters without embedding");
}
