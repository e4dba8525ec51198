using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>What follows the mixer of a block, position by position.</summary>
public abstract partial record FeedForwardSpec
{
    private protected FeedForwardSpec() { }

    /// <summary>No feed-forward: the block is its mixer alone.</summary>
    public static FeedForwardSpec None { get; } = new NoFeedForward();

    /// <summary>A gated feed-forward: down(silu(gate(x)) * up(x)), of this hidden width.</summary>
    public static SwiGluSpec SwiGlu(int width) => new(width);

    /// <summary>A feed-forward without gate: down(activation(up(x))), of this hidden width.</summary>
    public static MlpSpec Mlp(int width, Activation activation = Activation.Gelu, bool bias = false) => new(width) { Activation = activation, Bias = bias };

    /// <summary>A mixture of SwiGLU experts. See <see cref="MixtureOfExpertsSpec"/>.</summary>
    public static MixtureOfExpertsSpec MixtureOfExperts(int experts, int expertsPerToken, int expertWidth, int sharedExperts = 0, int sharedWidth = 0,
        RouterScore score = RouterScore.Sigmoid, bool renormalize = false, double scale = 1, bool scoreBeforeExperts = false,
        ExpertBalance balance = ExpertBalance.BiasUpdate, double balanceRate = 1e-3, double routerZLoss = 0) => new()
        {
            Experts = experts,
            ExpertsPerToken = expertsPerToken,
            ExpertWidth = expertWidth,
            SharedExperts = sharedExperts,
            SharedWidth = sharedWidth,
            Score = score,
            Renormalize = renormalize,
            Scale = scale,
            ScoreBeforeExperts = scoreBeforeExperts,
            Balance = balance,
            BalanceRate = balanceRate,
            RouterZLoss = routerZLoss,
        };

    /// <summary>Trainable parameters in a model of this width, without the norm before it.</summary>
    public abstract long CountParameters(int width);

    /// <summary>Those of <see cref="CountParameters"/> that one token uses.</summary>
    public virtual long CountActiveParameters(int width) => CountParameters(width);

    /// <summary>Those of <see cref="CountParameters"/> that are added rather than multiplied with.</summary>
    internal virtual long CountBiases(int width) => 0;

    /// <summary>The same feed-forward with every size that was left at 0 filled in.</summary>
    public virtual FeedForwardSpec Resolve(int width) => this;

    /// <summary>Refuses sizes that no module can have.</summary>
    /// <exception cref="ArgumentException">Names the property, what it was and what was expected.</exception>
    public abstract void Check(int width);

    /// <summary>Whether the block has no feed-forward.</summary>
    [JsonIgnore]
    public bool IsNone => this is NoFeedForward;
}
