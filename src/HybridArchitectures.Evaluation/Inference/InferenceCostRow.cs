namespace HybridArchitectures.Evaluation.Inference;

/// <summary>Contains the inference cost at one batch size and length.</summary>
/// <param name="BatchSize">The number of rows.</param>
/// <param name="PromptLength">The number of tokens of each prompt.</param>
/// <param name="TotalLength">The number of tokens of prompt and continuation.</param>
/// <param name="TimeToFirstToken">The time to read the prompts and to compute the first token of each row.</param>
/// <param name="PrefillTokensPerSecond">The number of prompt tokens of all rows per second.</param>
/// <param name="DecodeTokensPerSecond">The number of generated tokens of all rows per second, without the time of the prompts.</param>
/// <param name="CacheBytes">The size of the cache at the end in bytes, without memory reserved for further tokens.</param>
/// <param name="PredictedCacheBytes">The size of that cache by the cost model, in bytes.</param>
/// <param name="PeakBytes">The growth of memory in use from before the prompts to its peak: cache, activations, logits, and what the allocator rounds
/// up. In main memory it is known on Linux only; on a GPU it is the growth of the memory that the caching allocator has reserved. Null if
/// unknown.</param>
/// <param name="PredictedPeakBytes">
/// The cost model's estimate of the peak: the cache, the residual stream of the prompts twice, the activations of the largest block, and the logits.
/// </param>
public sealed record InferenceCostRow(
    int BatchSize, int PromptLength, int TotalLength, TimeSpan TimeToFirstToken, double PrefillTokensPerSecond, double DecodeTokensPerSecond,
    long CacheBytes, long PredictedCacheBytes, long? PeakBytes, long PredictedPeakBytes);
