namespace HybridArchitectures.Design;

/// <summary>
/// Describes a mixture of experts: a router selects some routed experts for each token, and shared experts process every token. Experts are SwiGLU
/// feed-forwards, or feed-forwards without a gate. No token is dropped.
/// </summary>
/// <example>
/// <code>
/// var experts = FeedForwardSpec.MixtureOfExperts(experts: 8, expertsPerToken: 2, expertWidth: 176, sharedExperts: 1);
/// HybridDesign design = HybridDesign.Create(width: 128, vocabularySize: 256).WithMamba2(stateSize: 32, headSize: 32)
///     .WithFeedForward(experts).Depth(4).Build();
/// Console.WriteLine($"{design.CountParameters().Total:N0} parameters, {design.CountParameters().Active:N0} per token");
/// </code>
/// </example>
public sealed record MixtureOfExpertsSpec : FeedForwardSpec
{
    /// <summary>Gets or sets the number of routed experts.</summary>
    public required int Experts { get; init; }

    /// <summary>Gets or sets the number of routed experts that process a token.</summary>
    public required int ExpertsPerToken { get; init; }

    /// <summary>Gets or sets the hidden width of a routed expert.</summary>
    public required int ExpertWidth { get; init; }

    /// <summary>
    /// Gets or sets the number of shared experts, which process every token. They form one feed-forward of width <see cref="SharedWidth"/>. The
    /// default is 0.
    /// </summary>
    public int SharedExperts { get; init; }

    /// <summary>
    /// Gets or sets the total hidden width of the shared experts. The default, 0, means <see cref="SharedExperts"/> times <see cref="ExpertWidth"/>.
    /// </summary>
    public int SharedWidth { get; init; }

    /// <summary>
    /// Gets or sets whether the output of the shared experts has a learned gate: the sigmoid of one product per token. The default is false.
    /// </summary>
    public bool SharedGate { get; init; }

    /// <summary>Gets or sets the nonlinearity of the experts. The default is SiLU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); }

    /// <summary>
    /// Gets or sets whether experts are gated: down(activation(gate(x)) * up(x)). If false, they are down(activation(up(x))). The default is true.
    /// </summary>
    public bool Gated { get; init; } = true;

    /// <summary>
    /// Gets or sets the width of the latent space in which routed experts operate, with one projection before and one after them (arXiv 2601.18089).
    /// The default, 0, means the model width without projections.
    /// </summary>
    public int LatentWidth { get; init; }

    /// <summary>
    /// Gets or sets whether the shared feed-forward and the projections into and out of the latent space have biases. Routed experts have none. The
    /// default is false.
    /// </summary>
    public bool DenseBias { get; init; }

    /// <summary>
    /// Gets or sets the number of equal groups of experts (arXiv 2412.19437, section 2.1.2). The default is 1. The experts of a token are selected
    /// from its best <see cref="GroupsPerToken"/> groups. The score of a group is the sum of its two best biased scores. Experts of other groups are
    /// never selected.
    /// </summary>
    public int RoutingGroups { get; init; } = 1;

    /// <summary>Gets or sets the number of groups from which the experts of a token are selected. The default is 1.</summary>
    public int GroupsPerToken { get; init; } = 1;

    /// <summary>Gets or sets how the router computes scores. The default is <see cref="RouterScore.Sigmoid"/>.</summary>
    public RouterScore Score { get; init => field = Require.Defined(value, nameof(Score)); } = RouterScore.Sigmoid;

    /// <summary>Gets or sets whether the scores of the selected experts are divided by their sum. The default is false.</summary>
    public bool Renormalize { get; init; }

    /// <summary>Gets or sets the multiplier of the scores. The default is 1.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>Gets or sets whether the score multiplies the input of an expert instead of its output. The default is false.</summary>
    public bool ScoreBeforeExperts { get; init; }

    /// <summary>Gets or sets how the load is balanced. The default is <see cref="ExpertBalance.BiasUpdate"/>.</summary>
    public ExpertBalance Balance { get; init => field = Require.Defined(value, nameof(Balance)); } = ExpertBalance.BiasUpdate;

    /// <summary>Gets or sets the step size of the bias, or the coefficient of the auxiliary loss. The default is 0.001.</summary>
    public double BalanceRate { get; init; } = 1e-3;

    /// <summary>Gets or sets the coefficient of the mean squared log-sum-exp of the router outputs (arXiv 2202.08906). The default is 0.</summary>
    public double RouterZLoss { get; init; }

    /// <inheritdoc/>
    public override FeedForwardSpec Resolve(int width) =>
        SharedExperts > 0 && SharedWidth == 0 ? this with { SharedWidth = SharedExperts * ExpertWidth } : this;

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
        if (LatentWidth != 0) Require.Size(LatentWidth, "latentWidth");
        Require.AtLeast(RoutingGroups, 1, "routingGroups");
        Require.Divides(RoutingGroups, "routingGroups", Experts, "experts");
        Require.That(
            GroupsPerToken >= 1 && GroupsPerToken <= RoutingGroups, "groupsPerToken", GroupsPerToken, $"1 to routingGroups = {RoutingGroups}");
        Require.That(ExpertsPerToken <= GroupsPerToken * (Experts / RoutingGroups), "expertsPerToken", ExpertsPerToken,
            $"at most the {GroupsPerToken * (Experts / RoutingGroups)} experts of groupsPerToken = {GroupsPerToken}");
        Require.Positive(Scale, "scale");
        Require.NotNegative(BalanceRate, "balanceRate");
        Require.NotNegative(RouterZLoss, "routerZLoss");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => Count(width, Experts);

    /// <inheritdoc/>
    public override long CountActiveParameters(int width) => Count(width, ExpertsPerToken);

    /// <summary>Returns the width of the input and output of routed experts.</summary>
    internal int InnerSpace(int width) => LatentWidth == 0 ? width : LatentWidth;

    /// <summary>Returns the number of parameters of one routed expert.</summary>
    internal long ExpertParameters(int width) => (Gated ? 3L : 2L) * InnerSpace(width) * ExpertWidth;

    internal override long CountBiases(int width) => !DenseBias ? 0
        : (SharedWidth == 0 ? 0 : (Gated ? 2L : 1) * SharedWidth + width) + (LatentWidth == 0 ? 0 : LatentWidth + width);

    long Count(int width, int experts)
    {
        long matrices = Gated ? 3 : 2;
        return CountBiases(width) + (long)width * Experts + ExpertParameters(width) * experts + matrices * width * SharedWidth
            + (SharedGate ? width : 0) + 2L * width * LatentWidth;
    }
}
