using HybridArchitectures.Models;

namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Measures something about a model. Derive from this class to add a task.</summary>
public abstract class EvaluationTask
{
    /// <summary>Gets the name of the task. Tasks that are used together must have different names.</summary>
    public abstract string Name { get; }

    /// <summary>
    /// Gets whether the result depends on the values of the weights. The default is true. If it is false, a sweep can measure a run whose trained
    /// model has been deleted: it uses a model of the same design with fresh weights.
    /// </summary>
    public virtual bool DependsOnWeights => true;

    /// <summary>
    /// Gets all settings that change the result, as text. The default, null, means unknown. A sweep stores the text with the result, and measures
    /// again if it has changed.
    /// </summary>
    public virtual string? Settings => null;

    /// <summary>Measures a model. The model is not changed.</summary>
    /// <param name="model">The model, on its device.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public abstract TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default);

    /// <summary>Creates a task from a function.</summary>
    /// <param name="name">The name of the task.</param>
    /// <param name="run">The function that measures a model.</param>
    /// <param name="settings">The <see cref="Settings"/>. The default is null.</param>
    public static EvaluationTask Create(string name, Func<HybridLanguageModel, CancellationToken, TaskResult> run, string? settings = null)
    {
        Require.NotBlank(name);
        ArgumentNullException.ThrowIfNull(run);
        return new FunctionTask(name, run, settings);
    }

    sealed class FunctionTask(string name, Func<HybridLanguageModel, CancellationToken, TaskResult> run, string? settings) : EvaluationTask
    {
        public override string Name => name;

        public override string? Settings => settings;

        public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default) => run(model, cancellation);
    }
}
