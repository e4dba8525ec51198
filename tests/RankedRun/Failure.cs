using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Throws an exception after the third step.</summary>
sealed class Failure : TrainingCallback
{
    public override void OnStep(TrainingStep step)
    {
        if (step.Step == 3) throw new InvalidOperationException("this rank is broken");
    }
}
