namespace HybridArchitectures.Training;

/// <summary>How a run ended.</summary>
/// <param name="Completed">False where it was cancelled before its end.</param>
/// <param name="Steps">Steps done.</param>
/// <param name="Tokens">Tokens trained on.</param>
/// <param name="Elapsed">Time trained.</param>
/// <param name="History">The reports, earlier runs of a resumed one included.</param>
/// <param name="Evaluations">The measurements on the held-out data.</param>
/// <param name="Checkpoint">The folder of the last checkpoint; null where none was asked for.</param>
/// <param name="HowToGoOn">What to call to go on from there; null where the run is complete or nothing was saved.</param>
public sealed record TrainingResult(
    bool Completed, long Steps, long Tokens, TimeSpan Elapsed, IReadOnlyList<TrainingProgress> History, IReadOnlyList<EvaluationPoint> Evaluations,
    string? Checkpoint, string? HowToGoOn)
{
    /// <summary>The last measurement; null where there is no held-out data.</summary>
    public Evaluation? Final => Evaluations.Count == 0 ? null : Evaluations[^1].Result;
}
