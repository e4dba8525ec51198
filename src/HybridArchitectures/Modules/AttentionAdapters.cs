namespace HybridArchitectures.Modules;

/// <summary>Adapters of attention's projections.</summary>
sealed record AttentionAdapters(LowRankAdapter Query, LowRankAdapter Key, LowRankAdapter Value);
