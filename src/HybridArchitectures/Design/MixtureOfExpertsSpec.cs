namespace HybridArchitectures.Design;

/// <summary>SwiGLU experts of which a router picks some per token, beside shared ones that see every token. No token is dropped.</summary>
public sealed record MixtureOfExpertsSpec : FeedForwardSpec
{
    /// <summary>Routed experts.</summary>
    public required int Experts { get; init; }

    /// <summary>How many of them see a token.</summary>
    public required int ExpertsPerToken { get; init; }

    /// <summary>Hidden width of a routed expert.</summary>
    public required int ExpertWidth { get; init; }

    /// <summary>Experts that see every token; they are one SwiGLU of <see cref="SharedWidth"/> together.</summary>
    public int SharedExperts { get; init; }

    /// <summary>Hidden width of all shared experts together; 0: their number times <see cref="ExpertWidth"/>.</summary>
    public int SharedWidth { get; init; }

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

    long Count(int width, int experts) => (long)width * Experts + 3L * width * ExpertWidth * experts + 3L * width * SharedWidth;
}
