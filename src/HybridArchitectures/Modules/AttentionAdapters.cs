namespace HybridArchitectures.Modules;

/// <summary>Contains the adapters of the projections of attention.</summary>
sealed record AttentionAdapters(LowRankAdapter Query, LowRankAdapter Key, LowRankAdapter Value);
