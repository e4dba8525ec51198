namespace HybridArchitectures.Training.Running;

/// <summary>Provides the base class for actions during a run. An exception ends the run like an exception of the trainer.</summary>
/// <remarks>
/// A callback may change the model between two steps: values of weights, which of them are trained, or the observer of the stack. The next step uses
/// the changed model, also if steps are captured as CUDA graphs. The set of parameters that the optimizer has is that at the start of the run.
/// </remarks>
public abstract class TrainingCallback
{
    /// <summary>Is called before the first step of a new or resumed run.</summary>
    public virtual void OnStart(Trainer trainer) { }

    /// <summary>Is called after each step. Reading a loss or norm of <paramref name="step"/> waits for the device.</summary>
    public virtual void OnStep(TrainingStep step) { }

    /// <summary>Is called after each report.</summary>
    public virtual void OnProgress(Trainer trainer, TrainingProgress progress) { }

    /// <summary>Called when the <see cref="SpikeGuard"/> has found a spike, before the step is skipped or ends the run.</summary>
    public virtual void OnSpike(Trainer trainer, TrainingSpike spike) { }

    /// <summary>Is called after each measurement on the held-out data.</summary>
    public virtual void OnEvaluation(Trainer trainer, EvaluationPoint evaluation) { }

    /// <summary>
    /// Called after a checkpoint has been written. The trainer may have made further steps by then (
    /// <see cref="TrainingOptions.AsynchronousCheckpoints"/>); the name of the folder contains the step of the checkpoint.
    /// </summary>
    public virtual void OnCheckpoint(Trainer trainer, string folder) { }

    /// <summary>Called when the run has ended or was cancelled, but not when it failed.</summary>
    public virtual void OnEnd(Trainer trainer, TrainingResult result) { }
}
