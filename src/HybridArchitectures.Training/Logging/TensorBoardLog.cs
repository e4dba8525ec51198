using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Training.Logging;

/// <summary>
/// Writes the values of a run for TensorBoard: <c>train/loss</c>, <c>train/learning_rate</c>, <c>train/gradient_norm</c> and
/// <c>train/tokens_per_second</c> at every report, with the other measurements of <see cref="TrainingProgress"/> (<c>train/memory_bytes</c>,
/// <c>train/model_flops_per_second</c>, <c>train/model_flop_utilisation</c>, <c>train/reading_share</c>), <c>held_out/loss</c> and
/// <c>held_out/bits_per_byte</c> at every measurement, and <c>train/spike</c> (the loss) at every spike. A resumed run writes a new file, which
/// invalidates values of later steps in the old ones.
/// </summary>
/// <param name="folder">The folder for the files, which should be separate for each run.</param>
public sealed class TensorBoardLog(string folder) : TrainingCallback, IDisposable
{
    EventFile? file;
    bool disposed;

    /// <inheritdoc/>
    public override void OnStart(Trainer trainer)
    {
        ArgumentNullException.ThrowIfNull(trainer);
        ObjectDisposedException.ThrowIf(disposed, this);
        file ??= new EventFile(folder, trainer.Step);
    }

    /// <inheritdoc/>
    public override void OnProgress(Trainer trainer, TrainingProgress progress)
    {
        ArgumentNullException.ThrowIfNull(progress);
        file?.Write(progress.Step, ("train/loss", progress.Loss), ("train/learning_rate", progress.LearningRate),
            ("train/gradient_norm", progress.GradientNorm), ("train/tokens_per_second", progress.TokensPerSecond),
            ("train/model_flops_per_second", progress.ModelFlopsPerSecond), ("train/memory_bytes", progress.MemoryBytes),
            ("train/reading_share", progress.ReadingShare));
        if (progress.ModelFlopUtilisation is { } share) file?.Write(progress.Step, ("train/model_flop_utilisation", share));
    }

    /// <inheritdoc/>
    public override void OnEvaluation(Trainer trainer, EvaluationPoint evaluation)
    {
        ArgumentNullException.ThrowIfNull(evaluation);
        file?.Write(evaluation.Step, ("held_out/loss", evaluation.Result.Loss));
        if (evaluation.Result.BitsPerByte is { } bits) file?.Write(evaluation.Step, ("held_out/bits_per_byte", bits));
    }

    /// <inheritdoc/>
    public override void OnSpike(Trainer trainer, TrainingSpike spike)
    {
        ArgumentNullException.ThrowIfNull(spike);
        file?.Write(spike.Step, ("train/spike", spike.Loss));
    }

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        disposed = true;
        file?.Dispose();
    }
}
