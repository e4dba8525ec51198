using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the losses of one design, or of a family of designs, by scale, for a fit and a chart.</summary>
/// <param name="Name">The name in charts and tables.</param>
/// <param name="Axis">The scale, such as <see cref="Tokens"/>. Curves with the same axis share a chart.</param>
/// <param name="Points">The points. A fit needs at least three different scales.</param>
public sealed record ScalingCurve(string Name, string Axis, IReadOnlyList<ScalingPoint> Points)
{
    /// <summary>Specifies the axis of training tokens.</summary>
    public const string Tokens = "training tokens";

    /// <summary>Specifies the axis of parameters.</summary>
    public const string Parameters = "parameters";

    /// <summary>Specifies the axis of training FLOPs.</summary>
    public const string Flops = "training FLOPs";

    /// <summary>Gets whether there are enough scales for a fit.</summary>
    public bool CanFit => Points.Select(point => point.Scale).Distinct().Count() >= 3;

    /// <summary>Creates the curve over training tokens of a design that was trained with decay branches.</summary>
    /// <param name="name">The name in charts and tables.</param>
    /// <param name="branches">Branches with held-out losses, of one or several seeds.</param>
    public static ScalingCurve FromBranches(string name, IEnumerable<DecayBranch> branches)
    {
        Require.NotBlank(name);
        return new(name, Tokens, [.. Require.EachItem(branches).Select(branch => branch.Point).OfType<ScalingPoint>()]);
    }

    /// <summary>
    /// Creates the curves of the families of a sweep (<see cref="SweepDesign.Family"/>) over parameters, training tokens and training FLOPs. The loss
    /// is the last held-out loss of each run. Losses that are not finite and curves with fewer than three scales are left out.
    /// </summary>
    /// <param name="result">The runs.</param>
    public static IReadOnlyList<ScalingCurve> FromSweep(SweepResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        var runs = result.Runs.Where(run => run.Settings.Family is not null && run.Training is { Failure: null, HeldOutLoss: [.., var last] }
            && double.IsFinite(last.Loss)).ToArray();
        (string Axis, Func<SweepRun, double> Scale)[] axes =
        [
            (Parameters, run => run.Settings.Design.CountParameters().Total), (Tokens, run => run.Training!.Tokens),
            (Flops, run => run.Settings.Design.Cost(run.Settings.ContextLength).Flops().Training * run.Training!.Tokens),
        ];
        return [.. axes.SelectMany(axis => runs.GroupBy(run => run.Settings.Family!).Select(family => new ScalingCurve(family.Key, axis.Axis,
            [.. family.Select(run => new ScalingPoint(axis.Scale(run), run.Training!.HeldOutLoss[^1].Loss))]))).Where(curve => curve.CanFit)];
    }
}
