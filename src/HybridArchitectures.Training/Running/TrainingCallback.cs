namespace HybridArchitectures.Training;

/// <summary>Something to do along with a run. An exception ends the run as if it were the trainer's own.</summary>
public abstract class TrainingCallback
{
    /// <summary>Before the first step of a run, or of its going on.</summary>
    public virtual void OnStart(Trainer trainer) { }

    /// <summary>After each step. Reading a loss or norm of <paramref name="step"/> waits for the device.</summary>
    public virtual void OnStep(TrainingStep step) { }

    /// <summary>After each report.</summary>
    public virtual void OnProgress(Trainer trainer, TrainingProgress progress) { }

    /// <summary>When the run's <see cref="SpikeGuard"/> found a spike, before it is skipped or ends the run.</summary>
    public virtual void OnSpike(Trainer trainer, TrainingSpike spike) { }

    /// <summary>After each measurement on the held-out data.</summary>
    public virtual void OnEvaluation(Trainer trainer, EvaluationPoint evaluation) { }

    /// <summary>After a checkpoint stands in its place.</summary>
    public virtual void OnCheckpoint(Trainer trainer, string folder) { }

    /// <summary>When the run has ended or was cancelled; not when it failed.</summary>
    public virtual void OnEnd(Trainer trainer, TrainingResult result) { }
}
