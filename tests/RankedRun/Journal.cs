using System.Diagnostics;
using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Prints which saves are finished, and kills this process after a step.</summary>
sealed class Journal(int dieAt, bool dies) : TrainingCallback
{
    public override void OnStep(TrainingStep step)
    {
        if (dies && step.Step == dieAt) Process.GetCurrentProcess().Kill();
    }

    public override void OnStart(Trainer trainer)
    {
        Console.Out.Write($"began {trainer.Step}\n");
        Console.Out.Flush();
    }

    public override void OnCheckpoint(Trainer trainer, string folder)
    {
        Console.Out.Write($"saved {trainer.Step}\n");
        Console.Out.Flush();
    }
}
