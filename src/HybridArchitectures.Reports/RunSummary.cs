using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Reports;

/// <summary>Represents one training run in a report.</summary>
public sealed record RunSummary
{
    /// <summary>Gets or sets the name of the run, which is unique in a report.</summary>
    public required string Name { get; init; }

    /// <summary>Gets or sets the design of the model.</summary>
    public required HybridDesign Design { get; init; }

    /// <summary>Gets or sets the losses, in order of time. The default is empty.</summary>
    public IReadOnlyList<RunPoint> Points { get; init; } = [];

    /// <summary>
    /// Gets or sets the final held-out loss in the unit of the report. The default, null, means the last held-out loss in <see cref="Points"/>.
    /// </summary>
    public double? HeldOutLoss { get; init; }

    /// <summary>Gets or sets the training speed. The default, null, means tokens divided by seconds of the last point.</summary>
    public double? TokensPerSecond { get; init; }

    /// <summary>Gets or sets text that the trained model generated. The default is empty.</summary>
    public IReadOnlyList<RunSample> Samples { get; init; } = [];

    /// <summary>Gets or sets settings of this run: optimizer, batch, seed. The default is empty.</summary>
    public IReadOnlyList<ReportFact> Facts { get; init; } = [];

    /// <summary>Gets the parameters, counted from the design.</summary>
    public ParameterCount Parameters => Design.CountParameters();

    /// <summary>Gets the number of tokens trained on.</summary>
    public long Tokens => Points.Count > 0 ? Points[^1].Tokens : 0;

    /// <summary>Gets the wall-clock time of training in seconds.</summary>
    public double Seconds => Points.Count > 0 ? Points[^1].Seconds : 0;

    /// <summary>Gets <see cref="HeldOutLoss"/>, or else the last held-out loss in <see cref="Points"/>. Null if there is none.</summary>
    public double? FinalHeldOutLoss => HeldOutLoss ?? Points.LastOrDefault(point => point.HeldOutLoss is not null)?.HeldOutLoss;

    /// <summary>Gets <see cref="TokensPerSecond"/>, or else the mean over the run. Null if there is none.</summary>
    public double? MeanTokensPerSecond => TokensPerSecond ?? (Seconds > 0 ? Tokens / Seconds : null);

    /// <summary>
    /// Returns the summary of a run of <see cref="Trainer"/>: its losses in the unit of the report, its held-out measurements, and the median speed
    /// of its reports.
    /// </summary>
    /// <param name="name">The name of the run.</param>
    /// <param name="design">The design of the model.</param>
    /// <param name="result">The result of <see cref="Trainer.Run"/>.</param>
    /// <param name="unit">
    /// The unit of the losses, which must be the unit of the report. The default is bits per byte. The training loss is then converted with the bytes
    /// per token of the held-out text.
    /// </param>
    /// <param name="heldOut">
    /// The final held-out measurement. It is added to the curve as its last point. The default, null, means the last measurement of the run.
    /// </param>
    /// <exception cref="ArgumentException">
    /// <paramref name="unit"/> is bits per byte, and there is no held-out measurement with a known number of bytes.
    /// </exception>
    public static RunSummary FromTraining(
        string name, HybridDesign design, TrainingResult result, LossUnit unit = LossUnit.BitsPerByte, Training.Running.Evaluation? heldOut = null)
    {
        Require.NotBlank(name);
        ArgumentNullException.ThrowIfNull(design);
        ArgumentNullException.ThrowIfNull(result);
        var final = heldOut ?? result.Final;
        var scale = Scale(unit, final);
        var speeds = result.History.Select(at => at.TokensPerSecond).Order().ToArray();
        return new()
        {
            Name = name,
            Design = design,
            Points = [.. Merge(result, heldOut, scale)],
            HeldOutLoss = final?.Loss * scale,
            TokensPerSecond = speeds.Length == 0 ? null : speeds[speeds.Length / 2],
        };
    }

    /// <summary>Returns the number by which a loss in nats per token is multiplied.</summary>
    static double Scale(LossUnit unit, Training.Running.Evaluation? heldOut) => unit switch
    {
        LossUnit.NatsPerToken => 1,
        LossUnit.BitsPerByte when heldOut is { Bytes: > 0 } => heldOut.Tokens / Math.Log(2) / heldOut.Bytes,
        LossUnit.BitsPerByte => throw Require.Unfit(nameof(unit),
            "unit is BitsPerByte, and no held-out measurement has a known number of bytes", "one, or the unit NatsPerToken"),
        _ => throw Require.OutOfRange(nameof(unit), unit, "BitsPerByte or NatsPerToken"),
    };

    /// <summary>Merges reports and measurements: those of one step become one point.</summary>
    static IEnumerable<RunPoint> Merge(TrainingResult result, Training.Running.Evaluation? heldOut, double scale)
    {
        var measured = result.Evaluations.ToDictionary(at => at.Step);
        if (heldOut is not null) measured[result.Steps] = new(result.Steps, result.Tokens, result.Elapsed, heldOut);
        var trained = result.History.ToDictionary(at => at.Step);
        foreach (var step in trained.Keys.Union(measured.Keys).Order())
        {
            var (report, evaluation) = (trained.GetValueOrDefault(step), measured.GetValueOrDefault(step));
            yield return report is not null
                ? new(step, report.Tokens, report.Elapsed.TotalSeconds, report.Loss * scale, evaluation?.Result.Loss * scale)
                : new(step, evaluation!.Tokens, evaluation.Elapsed.TotalSeconds, null, evaluation.Result.Loss * scale);
        }
    }

    internal void Check()
    {
        if (string.IsNullOrWhiteSpace(Name)) throw Require.Refusal(nameof(Name), Name, "a name");
        if (Design is null) throw Require.Unfit(nameof(Design), $"Design of run {Name} is null", "a design");
        Design.Check();
        if (Points is null || Samples is null || Facts is null)
            throw Require.Unfit(null, $"one of Points, Samples and Facts of run {Name} is null", "a list, which may be empty");
        ReportChecks.Points(Name, Points, nameof(Points));
        if (Samples.Any(sample => sample is not { Prompt: not null, Text: not null, Settings: not null }))
            throw Require.Unfit(nameof(Samples), $"Samples of run {Name} holds null", "samples");
        ReportChecks.Facts(Name, Facts);
    }
}
