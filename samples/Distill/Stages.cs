using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace Distill;

/// <summary>Runs the stages of the program. Each is a training run in its own folder, which continues if it was stopped.</summary>
/// <param name="folder">The folder of all stages.</param>
/// <param name="training">The training text.</param>
/// <param name="cancellation">Stops the current stage. Its state is saved.</param>
sealed class Stages(string folder, TokenDataset training, CancellationToken cancellation)
{
    public const int ContextLength = 256, Rows = 4;

    /// <summary>Specifies the number of tokens of a training step.</summary>
    public const long TokensPerStep = ContextLength * Rows;

    /// <summary>Returns the options of a stage.</summary>
    public static TrainingOptions Options(long steps, double rate) => new()
    {
        LearningRate = rate, ContextLength = ContextLength, BatchSize = Rows, Duration = Duration.Steps(steps), ReportEvery = 20, Seed = 1,
        Schedule = new TrapezoidSchedule { WarmUp = 0.05, CoolDown = 0.4 }, CheckpointEvery = 100,
    };

    /// <summary>Runs a stage, or what is left of it, and returns its model, which the caller disposes.</summary>
    /// <param name="name">The name of the stage and of its folder.</param>
    /// <param name="create">Creates the model with which the stage begins.</param>
    /// <param name="options">The options of the stage.</param>
    /// <param name="objective">The loss. The default, null, is the cross entropy.</param>
    /// <exception cref="OperationCanceledException">The stage was stopped.</exception>
    public HybridLanguageModel Run(string name, Func<HybridLanguageModel> create, TrainingOptions options, TrainingObjective? objective = null)
    {
        string run = Path.Combine(folder, name);
        TrainingCallback[] callbacks = objective is null ? [] : [objective];
        using var trainer = Trainer.HasCheckpoint(run) ? Trainer.Resume(run, training, callbacks: callbacks)
            : new Trainer(create(), training, options with { Folder = run }, callbacks: callbacks);
        var result = trainer.Run(new Lines(name), cancellation);
        if (result.Completed) return trainer.Model;
        trainer.Model.Dispose();
        throw new OperationCanceledException(cancellation);
    }

    sealed class Lines(string name) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value)
        {
            if (value.Step % 100 == 0) Console.WriteLine($"{name}: step {value.Step}, loss {value.Loss:0.000}, {value.TokensPerSecond:0} tokens/s");
        }
    }
}
