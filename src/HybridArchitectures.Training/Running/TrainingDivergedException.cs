using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// The exception that ends a run if a loss or gradient is not finite. The parameters are those before the step, and earlier checkpoints are not
/// changed.
/// </summary>
/// <param name="message">The message.</param>
/// <param name="step">The step, counted from 1.</param>
/// <param name="batch">The position in the data of the rows of the step.</param>
/// <param name="location">The first value that was not finite: the output of a block, or the gradient of a parameter.</param>
public sealed class TrainingDivergedException(string message, long step, DataPosition batch, string location) : InvalidOperationException(message)
{
    /// <summary>Gets the step, counted from 1.</summary>
    public long Step { get; } = step;

    /// <summary>Gets the position in the data of the rows of the step.</summary>
    public DataPosition Batch { get; } = batch;

    /// <summary>Gets the first value that was not finite: the output of a block, or the gradient of a parameter.</summary>
    public string Location { get; } = location;
}
