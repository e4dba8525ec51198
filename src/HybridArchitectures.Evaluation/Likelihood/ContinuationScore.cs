namespace HybridArchitectures.Evaluation.Likelihood;

/// <summary>Contains the log-likelihood of a continuation.</summary>
/// <param name="LogProbability">The sum of ln p over the tokens of the continuation, in nats.</param>
/// <param name="IsGreedy">True if every token is the most probable one after the tokens before it.</param>
/// <param name="Tokens">The number of tokens of the continuation.</param>
public sealed record ContinuationScore(double LogProbability, bool IsGreedy, int Tokens);
