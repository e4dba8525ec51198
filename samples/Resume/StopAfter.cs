using HybridArchitectures.Training;

namespace Resume;

/// <summary>Cancels a run after a step, as an impatient user would.</summary>
sealed class StopAfter(long step, CancellationTokenSource source) : TrainingCallback
{
    public override void OnStep(TrainingStep done)
    {
        if (done.Step == step) source.Cancel();
    }
}
