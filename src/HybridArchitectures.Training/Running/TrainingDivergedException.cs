namespace HybridArchitectures.Training;

/// <summary>A loss or gradient that is no finite number ended a run. The parameters are those before the step; nothing was saved over an earlier
/// checkpoint.</summary>
/// <param name="message">What happened where.</param>
/// <param name="step">The step, counted from 1.</param>
/// <param name="batch">Where in the data the step's rows begin.</param>
/// <param name="place">What first was not finite: a block's output, or a parameter's gradient.</param>
public sealed class TrainingDivergedException(string message, long step, DataPosition batch, string place) : InvalidOperationException(message)
{
    /// <summary>The step, counted from 1.</summary>
    public long Step { get; } = step;

    /// <summary>Where in the data the step's rows begin.</summary>
    public DataPosition Batch { get; } = batch;

    /// <summary>What first was not finite: a block's output, or a parameter's gradient.</summary>
    public string Place { get; } = place;
}
