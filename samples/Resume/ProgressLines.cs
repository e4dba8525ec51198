using HybridArchitectures.Training.Running;

namespace Resume;

/// <summary>Prints one line per report.</summary>
sealed class ProgressLines(string name) : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress at) =>
        Console.WriteLine(
            FormattableString.Invariant($"{name}: step {at.Step,3}, {at.Loss / Math.Log(2):f3} bits per byte, {at.TokensPerSecond:f0} bytes/s"));
}
