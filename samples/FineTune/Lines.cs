using HybridArchitectures.Training.Running;

namespace FineTune;

/// <summary>Prints a line for each report of a run.</summary>
sealed class Lines(string name) : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value) => Console.WriteLine(
        FormattableString.Invariant($"{name}: step {value.Step,3}, {value.Loss:f3} nats per token, {value.TokensPerSecond:f0} tokens/s"));
}
