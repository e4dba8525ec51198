using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about experts and about the share of the embedding.</summary>
static class FeedForwardRules
{
    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("expert-balance", "Experts without load balancing.", Balance),
        new("head-share", "More than half of the parameters in the embedding and the head.", HeadShare),
    ];

    static IEnumerable<Finding> Balance(HybridDesign design, ReviewOptions options)
    {
        for (int i = 0; i < design.Blocks.Count; i++)
        {
            if (design.Blocks[i].FeedForward is not MixtureOfExpertsSpec experts || experts.Experts == experts.ExpertsPerToken) continue;
            if (experts.Balance != ExpertBalance.None && experts.BalanceRate > 0) continue;
            int index = i;
            yield return new("expert-balance", Severity.Warning, i + 1,
                $"the load of {experts.Experts} experts is not balanced; the router may select only a few of them.",
                new("a bias step of 1e-3 balances 8 experts", DesignRules.Paper + ", appendix L; arXiv 2408.15664"),
                new("Balance = ExpertBalance.BiasUpdate, BalanceRate = 1e-3",
                whole => whole.Blocks[index] is { FeedForward: MixtureOfExpertsSpec unbalanced } block
                    ? whole with { Blocks = whole.Blocks.With(
                    index, block with { FeedForward = unbalanced with { Balance = ExpertBalance.BiasUpdate, BalanceRate = 1e-3 } }) }
                    : whole, Safe: true));
        }
    }

    static HybridDesign Smaller(HybridDesign design, int vocabulary) =>
        design with { VocabularySize = vocabulary, PaddingId = design.PaddingId < vocabulary ? design.PaddingId : null };

    static IEnumerable<Finding> HeadShare(HybridDesign design, ReviewOptions options)
    {
        var count = design.CountParameters();
        double share = (double)(count.Embedding + count.Head) / count.Total;
        if (share <= 0.5) yield break;
        int vocabulary = (int)Math.Max(1, count.NonEmbedding / design.Width / (design.TiedHead ? 1 : 2));
        yield return new("head-share", Severity.Info, null,
            string.Create(CultureInfo.InvariantCulture,
                $"{share:P0} of the parameters are in the embedding and the head, "
                + $"which do not count in a comparison without them."),
            new(FormattableString.Invariant($"{share:P0} of {Units.Count(count.Total)} here; 58 % in the paper's smallest Llama, 21 % at 1B"),
            DesignRules.Paper + ", Table 8"),
            design.TiedHead ? new(FormattableString.Invariant($"VocabularySize = {vocabulary}, with another tokenizer, or more layers"),
            whole => Smaller(whole, vocabulary))
                : new(".TiedHead(true)", whole => whole with { TiedHead = true }));
    }
}
