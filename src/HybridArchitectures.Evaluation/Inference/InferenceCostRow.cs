namespace HybridArchitectures.Evaluation;

/// <summary>What inference took at one batch size and length.</summary>
/// <param name="BatchSize">Rows.</param>
/// <param name="PromptLength">Tokens of each prompt.</param>
/// <param name="TotalLength">Tokens of prompt and continuation.</param>
/// <param name="TimeToFirstToken">Time to read the prompts and have the first token of each row.</param>
/// <param name="PrefillTokensPerSecond">Prompt tokens of all rows per second.</param>
/// <param name="DecodeTokensPerSecond">Written tokens of all rows per second, the prompt's time excluded.</param>
/// <param name="CacheBytes">Bytes of the cache at the end, memory reserved for tokens to come excluded.</param>
/// <param name="PredictedCacheBytes">What the cost model says of that cache.</param>
/// <param name="PeakBytes">The growth of memory in use from before the prompts to its peak: cache, activations, logits, and what the allocator rounds
/// up. In main memory it is known on Linux only; on a GPU it is the growth of the memory that the caching allocator has reserved. Null if
/// unknown.</param>
/// <param name="PredictedPeakBytes">
/// The cost model's estimate of the peak: the cache, the residual stream of the prompts twice, the activations of the largest block, and the logits.
/// </param>
public sealed record InferenceCostRow(
    int BatchSize, int PromptLength, int TotalLength, TimeSpan TimeToFirstToken, double PrefillTokensPerSecond, double DecodeTokensPerSecond,
    long CacheBytes, long PredictedCacheBytes, long? PeakBytes, long PredictedPeakBytes);
