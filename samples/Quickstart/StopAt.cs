using HybridArchitectures.Training.Running;

namespace Quickstart;

/// <summary>Ends the turn of a model after a step.</summary>
sealed class StopAt(long step, CancellationTokenSource source) : TrainingCallback
{
    public override void OnStep(TrainingStep done)
    {
        if (done.Step >= step) source.Cancel();
    }
}
