using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes the feed-forward after the mixer of a block. It processes each token separately, except with <see cref="MlpSpec.TokenShift"/>.
/// </summary>
/// <example>
/// <code>
/// FeedForwardSpec dense = FeedForwardSpec.SwiGlu(704);
/// FeedForwardSpec experts = FeedForwardSpec.MixtureOfExperts(experts: 8, expertsPerToken: 2, expertWidth: 352, sharedExperts: 1);
/// Console.WriteLine($"{dense.CountParameters(width: 256):N0} and {experts.CountActiveParameters(width: 256):N0} parameters per token");
/// </code>
/// </example>
[JsonPolymorphic(TypeDiscriminatorPropertyName = DesignJson.Discriminator)]
[JsonDerivedType(typeof(NoFeedForward), "none")]
[JsonDerivedType(typeof(SwiGluSpec), "swiGlu")]
[JsonDerivedType(typeof(MlpSpec), "mlp")]
[JsonDerivedType(typeof(MixtureOfExpertsSpec), "mixtureOfExperts")]
public abstract record FeedForwardSpec
{
    private protected FeedForwardSpec() { }

    /// <summary>Gets the absent feed-forward. The block then consists of its mixer.</summary>
    public static FeedForwardSpec None { get; } = new NoFeedForward();

    /// <summary>Creates a gated feed-forward: down(silu(gate(x)) * up(x)).</summary>
    /// <param name="width">The hidden width.</param>
    public static SwiGluSpec SwiGlu(int width) => new(width);

    /// <summary>Creates a feed-forward without a gate: down(activation(up(x))).</summary>
    /// <param name="width">The hidden width.</param>
    /// <param name="activation">The nonlinearity. The default is GELU.</param>
    /// <param name="bias">Whether both projections have biases. The default is false.</param>
    public static MlpSpec Mlp(int width, Activation activation = Activation.Gelu, bool bias = false) =>
        new(width) { Activation = activation, Bias = bias };

    /// <summary>Creates a mixture of SwiGLU experts. <see cref="MixtureOfExpertsSpec"/> describes all of its properties.</summary>
    /// <param name="experts">The number of routed experts.</param>
    /// <param name="expertsPerToken">The number of routed experts that process a token.</param>
    /// <param name="expertWidth">The inner width of a routed expert.</param>
    /// <param name="sharedExperts">The number of shared experts, which process every token. The default is 0.</param>
    /// <param name="sharedWidth">The total inner width of the shared experts. The default, 0, means their number times the width of one.</param>
    /// <param name="score">How the router computes scores. The default is <see cref="RouterScore.Sigmoid"/>.</param>
    /// <param name="renormalize">Whether the scores of the selected experts are divided by their sum. The default is false.</param>
    /// <param name="scale">The multiplier of the scores. The default is 1.</param>
    /// <param name="scoreBeforeExperts">Whether the score multiplies the input of an expert instead of its output. The default is false.</param>
    /// <param name="balance">How the load is balanced. The default is <see cref="ExpertBalance.BiasUpdate"/>.</param>
    /// <param name="balanceRate">The step size of the bias, or the coefficient of the auxiliary loss. The default is 0.001.</param>
    /// <param name="routerZLoss">The coefficient of the z-loss of the router. The default is 0.</param>
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

    /// <summary>Returns the number of trainable parameters in a model of the given width, without the norm before the feed-forward.</summary>
    public abstract long CountParameters(int width);

    /// <summary>Returns the number of parameters that one token uses.</summary>
    public virtual long CountActiveParameters(int width) => CountParameters(width);

    /// <summary>Returns the number of parameters that are not entries of a matrix, such as biases.</summary>
    internal virtual long CountBiases(int width) => 0;

    /// <summary>Returns the number of values of an earlier token that one row of a cache contains.</summary>
    internal virtual long CountState(int width) => 0;

    /// <summary>Returns the feed-forward with every size that is 0 derived from the width.</summary>
    public virtual FeedForwardSpec Resolve(int width) => this;

    /// <summary>Checks that a module of these sizes is possible.</summary>
    /// <param name="width">The model width.</param>
    /// <exception cref="ArgumentException">A property is invalid. The message contains its name, its value, and what was expected.</exception>
    public abstract void Check(int width);

    /// <summary>Gets whether the block has no feed-forward.</summary>
    [JsonIgnore]
    public bool IsNone => this is NoFeedForward;
}
