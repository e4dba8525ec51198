using System.Text.Json.Serialization;

namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Contains the results of one task for one model.</summary>
/// <param name="Task">The name of the task.</param>
/// <param name="Protocol">One sentence that describes the measurement, with every setting that changes the numbers.</param>
/// <param name="Metrics">The numbers. The first one is the main metric, by which models are compared.</param>
/// <param name="HeatMaps">The tables to draw. The list may be empty.</param>
/// <param name="Curves">The curves to draw, such as the loss by position. The list may be empty.</param>
[method: JsonConstructor]
public sealed record TaskResult(
    string Task, string Protocol, IReadOnlyList<Metric> Metrics, IReadOnlyList<HeatMap> HeatMaps, IReadOnlyList<MeasuredCurve> Curves)
{
    /// <summary>Creates a result without pictures.</summary>
    public TaskResult(string task, string protocol, params IReadOnlyList<Metric> metrics) : this(task, protocol, metrics, [], [])
    {
    }

    /// <summary>
    /// Gets or sets the <see cref="EvaluationTask.Settings"/> with which a sweep measured. Null means unknown; results of earlier versions have none.
    /// </summary>
    public string? Settings { get; init; }

    /// <summary>Returns the name of the task and its metrics: "held-out loss: loss 1.6101 +- 0.0366 nats per token, ...".</summary>
    public override string ToString() => $"{Task}: {string.Join(", ", Metrics)}";
}
