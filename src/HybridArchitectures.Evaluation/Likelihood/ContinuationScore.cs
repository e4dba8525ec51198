namespace HybridArchitectures.Evaluation;

/// <summary>How probable a model finds a continuation of a prompt.</summary>
/// <param name="LogProbability">The sum of ln p over the continuation's tokens, in nats.</param>
/// <param name="IsGreedy">Whether every token is the most probable one given those before it.</param>
/// <param name="Tokens">How many tokens the continuation has.</param>
public sealed record ContinuationScore(double LogProbability, bool IsGreedy, int Tokens);
