using System.Globalization;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Contains the results of a long-context task by length and depth.</summary>
/// <param name="Task">The name of the task.</param>
/// <param name="Cells">The scores, one per length and depth.</param>
public sealed record LongContextResult(string Task, IReadOnlyList<LongContextCell> Cells)
{
    /// <summary>Returns the mean score over depths at each length.</summary>
    public IReadOnlyList<(int Length, double Score)> ByLength() =>
        [.. Cells.GroupBy(cell => cell.Length).OrderBy(group => group.Key).Select(group => (group.Key, group.Average(cell => cell.Score.Value)))];

    /// <summary>
    /// Returns the maximum length up to which every measured length reaches a score, or null if the shortest one does not. Divided by the training
    /// length, it measures how far a model extrapolates.
    /// </summary>
    /// <param name="score">The score, 0 to 1. The default value is 0.9.</param>
    public int? MaxLengthAt(double score = 0.9)
    {
        int? reached = null;
        foreach (var (length, value) in ByLength())
        {
            if (value < score) break;
            reached = length;
        }
        return reached;
    }

    /// <summary>Returns the scores as a table of depths (rows) by lengths (columns).</summary>
    public HeatMap ToHeatMap()
    {
        int[] lengths = [.. Cells.Select(cell => cell.Length).Distinct().Order()];
        double?[] depths = [.. Cells.Select(cell => cell.Depth).Distinct().OrderBy(depth => depth ?? -1)];
        string Text(double? depth) => depth is { } value ? value.ToString("0 %", CultureInfo.InvariantCulture) : "random";
        var values = depths.Select(depth => (IReadOnlyList<double?>)[.. lengths.Select(length =>
            Cells.FirstOrDefault(cell => cell.Length == length && cell.Depth == depth)?.Score.Value)]);
        return new HeatMap(Task, "depth", [.. depths.Select(Text)], "tokens",
            [.. lengths.Select(length => length.ToString(CultureInfo.InvariantCulture))], [.. values]);
    }
}
