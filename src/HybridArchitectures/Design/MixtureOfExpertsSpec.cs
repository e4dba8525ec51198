namespace HybridArchitectures.Design;

/// <summary>Experts (SwiGLU, or without gate) of which a router picks some per token, beside shared ones that see every token. No token is dropped.</summary>
public sealed record MixtureOfExpertsSpec : FeedForwardSpec
{
    /// <summary>Routed experts.</summary>
    public required int Experts { get; init; }

    /// <summary>How many of them see a token.</summary>
    public required int ExpertsPerToken { get; init; }

    /// <summary>Hidden width of a routed expert.</summary>
    public required int ExpertWidth { get; init; }

    /// <summary>Experts that see every token; they are one feed-forward of <see cref="SharedWidth"/> together.</summary>
    public int SharedExperts { get; init; }

    /// <summary>Hidden width of all shared experts together; 0: their number times <see cref="ExpertWidth"/>.</summary>
    public int SharedWidth { get; init; }

    /// <summary>A learned gate on what the shared experts give: the sigmoid of one product per token.</summary>
    public bool SharedGate { get; init; }

    /// <summary>The experts' nonlinearity.</summary>
    public Activation Activation { get; init; }

    /// <summary>Experts are down(activation(gate(x)) * up(x)); without a gate down(activation(up(x))).</summary>
    public bool Gated { get; init; } = true;

    /// <summary>Width of the space that routed experts work in, reached by a projection before and left by one after them (arXiv 2601.18089); 0: the model's.</summary>
    public int LatentWidth { get; init; }

    /// <summary>Biases on the shared feed-forward and on the projections into and out of the latent space; routed experts have none.</summary>
    public bool DenseBias { get; init; }

    /// <summary>
    /// Gets or sets the number of equal groups of experts (arXiv 2412.19437, section 2.1.2). The default value is 1. A token's experts come from its
    /// best <see cref="GroupsPerToken"/> groups. A group is rated by the sum of its two best biased scores; experts of other groups are never chosen.
    /// </summary>
    public int RoutingGroups { get; init; } = 1;

    /// <summary>Groups that a token's experts may come from.</summary>
    public int GroupsPerToken { get; init; } = 1;

    /// <summary>How the router scores.</summary>
    public RouterScore Score { get; init; } = RouterScore.Sigmoid;

    /// <summary>The scores of a token's experts are divided by their sum.</summary>
    public bool Renormalize { get; init; }

    /// <summary>Factor on the scores.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>The score multiplies what enters an expert, not what leaves it.</summary>
    public bool ScoreBeforeExperts { get; init; }

    /// <summary>What keeps the load even.</summary>
    public ExpertBalance Balance { get; init; } = ExpertBalance.BiasUpdate;

    /// <summary>Step of the bias, or coefficient of the auxiliary loss.</summary>
    public double BalanceRate { get; init; } = 1e-3;

    /// <summary>Coefficient of the mean squared log-sum-exp of the router's outputs (arXiv 2202.08906).</summary>
    public double RouterZLoss { get; init; }

    /// <inheritdoc/>
    public override FeedForwardSpec Resolve(int width) => SharedExperts > 0 && SharedWidth == 0 ? this with { SharedWidth = SharedExperts * ExpertWidth } : this;

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.That(Experts is >= 1 and <= 4096, "experts", Experts, "1 to 4096");
        Require.That(ExpertsPerToken >= 1 && ExpertsPerToken <= Experts, "expertsPerToken", ExpertsPerToken, $"1 to experts = {Experts}");
        Require.Size(ExpertWidth, "expertWidth");
        Require.That(SharedExperts is >= 0 and <= 4096, "sharedExperts", SharedExperts, "0 to 4096");
        if (SharedExperts == 0) Require.That(SharedWidth == 0, "sharedWidth", SharedWidth, "0 without shared experts");
        else Require.Size(SharedWidth, "sharedWidth");
        Require.That(!SharedGate || SharedExperts > 0, "sharedGate", SharedGate, "false without shared experts");
        Require.Defined(Activation, "activation");
        if (LatentWidth != 0) Require.Size(LatentWidth, "latentWidth");
        Require.AtLeast(RoutingGroups, 1, "routingGroups");
        Require.Divides(RoutingGroups, "routingGroups", Experts, "experts");
        Require.That(GroupsPerToken >= 1 && GroupsPerToken <= RoutingGroups, "groupsPerToken", GroupsPerToken, $"1 to routingGroups = {RoutingGroups}");
        Require.That(ExpertsPerToken <= GroupsPerToken * (Experts / RoutingGroups), "expertsPerToken", ExpertsPerToken,
            $"at most the {GroupsPerToken * (Experts / RoutingGroups)} experts of groupsPerToken = {GroupsPerToken}");
        Require.Defined(Score, "score");
        Require.Defined(Balance, "balance");
        Require.Positive(Scale, "scale");
        Require.NotNegative(BalanceRate, "balanceRate");
        Require.NotNegative(RouterZLoss, "routerZLoss");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => Count(width, Experts);

    /// <inheritdoc/>
    public override long CountActiveParameters(int width) => Count(width, ExpertsPerToken);

    /// <summary>Width of what routed experts read and write.</summary>
    internal int InnerSpace(int width) => LatentWidth == 0 ? width : LatentWidth;

    /// <summary>Parameters of one routed expert.</summary>
    internal long ExpertParameters(int width) => (Gated ? 3L : 2L) * InnerSpace(width) * ExpertWidth;

    internal override long CountBiases(int width) => !DenseBias ? 0
        : (SharedWidth == 0 ? 0 : (Gated ? 2L : 1) * SharedWidth + width) + (LatentWidth == 0 ? 0 : LatentWidth + width);

    long Count(int width, int experts)
    {
        long matrices = Gated ? 3 : 2;
        return CountBiases(width) + (long)width * Experts + ExpertParameters(width) * experts + matrices * width * SharedWidth + (SharedGate ? width : 0) + 2L * width * LatentWidth;
    }
}
