using HybridArchitectures.Evaluation.Sweeps;

namespace SweepSample;

/// <summary>Prints the progress of a sweep.</summary>
sealed class Lines : IProgress<SweepProgress>
{
    public void Report(SweepProgress value) => Console.WriteLine(value);
}
