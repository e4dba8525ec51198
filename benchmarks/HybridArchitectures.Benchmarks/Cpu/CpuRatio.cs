namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>
/// Contains two ways of computing the same result. They are measured in turn, so that other programs on the machine slow both alike.
/// </summary>
/// <param name="Name">What is done.</param>
/// <param name="Sizes">At which sizes.</param>
/// <param name="Against">What the other way is.</param>
/// <param name="Ours">This library's way.</param>
/// <param name="Theirs">The other way.</param>
/// <param name="LimitMs">The minimum time of this machine.</param>
/// <param name="Limit">What that time is made of.</param>
sealed record CpuRatio(string Name, string Sizes, string Against, Action Ours, Action Theirs, double LimitMs, string Limit);

/// <summary>Contains the medians of both ways in milliseconds, and the median of the ratios of neighbouring runs.</summary>
sealed record CpuRatioRecord(string Name, string Sizes, string Against, double Ms, double AgainstMs, double Ratio, double LimitMs, string Limit);
