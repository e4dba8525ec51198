namespace HybridArchitectures.Training.Running;

/// <summary>Contains the result of a run.</summary>
/// <param name="Completed">Whether the run reached its end. False if it was cancelled.</param>
/// <param name="Steps">The number of steps.</param>
/// <param name="Tokens">The number of tokens.</param>
/// <param name="Elapsed">The training time.</param>
/// <param name="History">The reports, including those of earlier runs if the run was resumed.</param>
/// <param name="Evaluations">The measurements on the held-out data.</param>
/// <param name="Checkpoint">The folder of the last checkpoint. Null if none was written.</param>
/// <param name="HowToGoOn">The call that continues the run. Null if the run is complete or nothing was saved.</param>
public sealed record TrainingResult(
    bool Completed, long Steps, long Tokens, TimeSpan Elapsed, IReadOnlyList<TrainingProgress> History, IReadOnlyList<EvaluationPoint> Evaluations,
    string? Checkpoint, string? HowToGoOn)
{
    /// <summary>Gets the last measurement. Null if there is no held-out data.</summary>
    public Evaluation? Final => Evaluations.Count == 0 ? null : Evaluations[^1].Result;

    /// <summary>Returns the result in words: "300 steps, 614,400 tokens, 41.2 s, held-out loss 1.2345 nats per token".</summary>
    public override string ToString()
    {
        string loss = Final is { } final ? FormattableString.Invariant($", held-out loss {final.Loss:0.0000} nats per token") : "";
        string saved = Checkpoint is null ? "" : $", checkpoint {Checkpoint}";
        return FormattableString.Invariant($"{Steps:N0} steps, {Tokens:N0} tokens, {Elapsed.TotalSeconds:0.0} s{loss}{saved}")
            + (Completed ? "" : ", cancelled");
    }
}
