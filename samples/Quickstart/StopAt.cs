using HybridArchitectures.Training;

namespace Quickstart;

/// <summary>Ends a model's turn after a step.</summary>
sealed class StopAt(long step, CancellationTokenSource source) : TrainingCallback
{
    public override void OnStep(TrainingStep done)
    {
        if (done.Step >= step) source.Cancel();
    }
}
