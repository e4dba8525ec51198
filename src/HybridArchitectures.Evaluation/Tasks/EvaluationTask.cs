using HybridArchitectures.Models;

namespace HybridArchitectures.Evaluation;

/// <summary>Something to measure of a model.</summary>
public abstract class EvaluationTask
{
    /// <summary>Gets the task's name; tasks that are used together have different ones.</summary>
    public abstract string Name { get; }

    /// <summary>Measures a model, which is left as it was.</summary>
    /// <param name="model">The model, on its device.</param>
    /// <param name="cancellation">Stops it with an <see cref="OperationCanceledException"/>.</param>
    public abstract TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default);

    /// <summary>Creates a task from a function.</summary>
    /// <param name="name">The task's name.</param>
    /// <param name="run">Measures a model.</param>
    public static EvaluationTask Create(string name, Func<HybridLanguageModel, CancellationToken, TaskResult> run)
    {
        Require.NotBlank(name);
        ArgumentNullException.ThrowIfNull(run);
        return new FunctionTask(name, run);
    }

    sealed class FunctionTask(string name, Func<HybridLanguageModel, CancellationToken, TaskResult> run) : EvaluationTask
    {
        public override string Name => name;

        public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default) => run(model, cancellation);
    }
}
