using HybridArchitectures.Training.Running;

namespace KilledRun;

/// <summary>Says which saves are finished.</summary>
sealed class Journal : TrainingCallback
{
    public override void OnCheckpoint(Trainer trainer, string folder)
    {
        Console.WriteLine($"saved {int.Parse(Path.GetFileName(folder)["step-".Length..])}");
        Console.Out.Flush();
    }
}
