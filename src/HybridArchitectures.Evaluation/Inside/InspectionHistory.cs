using System.Globalization;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the measurements of the checkpoints of a training run.</summary>
/// <param name="Protocol">One sentence that describes the measurement of each checkpoint.</param>
/// <param name="Points">The measurements, by step.</param>
public sealed record InspectionHistory(string Protocol, IReadOnlyList<InspectionPoint> Points)
{
    /// <summary>Returns the numbers of the last checkpoint, with heat maps and curves over training.</summary>
    /// <param name="maxHeads">The maximum number of heads in the heat map over training, those with the largest mass. The default is 24.</param>
    /// <param name="retrievalMass">The mass from which a head counts as a retrieval head. The default is 0.1.</param>
    public TaskResult ToTaskResult(int maxHeads = 24, double retrievalMass = 0.1)
    {
        Require.InRange(Points.Count > 0, $"{nameof(Points)}.Count", Points.Count, "at least 1 checkpoint");
        Require.InRange(maxHeads >= 1, nameof(maxHeads), maxHeads, "at least 1 head");
        var last = Points[^1].Result.ToTaskResult(
            "inside over training", $"{Protocol} {Points.Count} checkpoints; numbers of the last.", retrievalMass);
        return last with { HeatMaps = [.. OverTraining(maxHeads), .. last.HeatMaps], Curves = [.. Curves(retrievalMass), .. last.Curves] };
    }

    IEnumerable<HeatMap> OverTraining(int maxHeads)
    {
        string[] steps = [.. Points.Select(point => point.Step.ToString(CultureInfo.InvariantCulture))];
        var heads = Points[^1].Result.Heads.Select((head, index) => (head, index, MaxMass: Points.Max(point => point.Result.Heads[index].Mass.Value)))
            .OrderByDescending(item => item.MaxMass).Take(maxHeads).OrderBy(item => item.index).ToArray();
        if (heads.Length > 0)
            yield return new("Attention mass on the needle over training", "head",
                [.. heads.Select(item => $"{item.head.Block}{(item.head.IsShared ? "s" : "")}.{item.head.Head}")], "step", steps,
                [.. heads.Select(item => (IReadOnlyList<double?>)[.. Points.Select(point => (double?)point.Result.Heads[item.index].Mass.Value)])],
                Max: Math.Max(0.1, heads.Max(item => item.MaxMass)));
    }

    IEnumerable<MeasuredCurve> Curves(double retrievalMass)
    {
        MeasuredCurve Curve(string title, string unit, Func<InspectionResult, double> number) =>
            new(title, "step", unit, [.. Points.Select(point => new CurvePoint(point.Step, number(point.Result)))]);
        var last = Points[^1].Result;
        if (last.Heads.Count > 0)
        {
            yield return Curve("Largest attention mass on the needle over training", "mass", result => result.Heads.Max(head => head.Mass.Value));
            yield return Curve("Retrieval heads over training", "heads", result => result.RetrievalHeads(retrievalMass).Count);
        }
        if (last.Memory.Count > 0)
            yield return Curve("Longest effective memory over training", "tokens", result => result.Memory.Max(layer => layer.Quantile(1)));
    }
}
