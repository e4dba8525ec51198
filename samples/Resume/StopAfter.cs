using HybridArchitectures.Training.Running;

namespace Resume;

/// <summary>Cancels a run after a step, like a user who presses Ctrl-C.</summary>
sealed class StopAfter(long step, CancellationTokenSource source) : TrainingCallback
{
    public override void OnStep(TrainingStep done)
    {
        if (done.Step == step) source.Cancel();
    }
}
