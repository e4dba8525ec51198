namespace HybridArchitectures.Training.Conversion;

/// <summary>Describes the progress of an <see cref="ImportanceScan"/>.</summary>
/// <param name="Done">The number of measurements that are done, including those of an earlier scan.</param>
/// <param name="Total">The number of all measurements.</param>
/// <param name="Layer">The layer of the latest measurement, from 1; 0 for the model itself.</param>
/// <param name="Loss">The latest loss in nats per token.</param>
public sealed record ImportanceProgress(int Done, int Total, int Layer, double Loss);
