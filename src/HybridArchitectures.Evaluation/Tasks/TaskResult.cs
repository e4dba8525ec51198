using System.Text.Json.Serialization;

namespace HybridArchitectures.Evaluation;

/// <summary>What a task measured of one model.</summary>
/// <param name="Task">The task's name.</param>
/// <param name="Protocol">One sentence: how it was measured, with every setting that changes the numbers.</param>
/// <param name="Metrics">The numbers; the first is the one to compare models by.</param>
/// <param name="HeatMaps">Tables to draw; may be empty.</param>
/// <param name="Curves">Curves to draw, such as the loss by position; may be empty.</param>
[method: JsonConstructor]
public sealed record TaskResult(
    string Task, string Protocol, IReadOnlyList<Metric> Metrics, IReadOnlyList<HeatMap> HeatMaps, IReadOnlyList<MeasuredCurve> Curves)
{
    /// <summary>Creates a result without pictures.</summary>
    public TaskResult(string task, string protocol, params IReadOnlyList<Metric> metrics) : this(task, protocol, metrics, [], [])
    {
    }
}
