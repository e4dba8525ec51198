using System.Runtime.CompilerServices;
using HybridArchitectures.Models;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Marks a model as being trained until disposed. Two runs at once would share its gradients, so the second one is refused, also if a callback of the
/// first one starts it.
/// </summary>
sealed class TrainingTurn : IDisposable
{
    static readonly ConditionalWeakTable<HybridLanguageModel, TrainingTurn> Running = [];

    readonly HybridLanguageModel model;

    TrainingTurn(HybridLanguageModel model) => this.model = model;

    /// <summary>Marks a model.</summary>
    /// <exception cref="InvalidOperationException">The model is being trained.</exception>
    public static TrainingTurn Begin(HybridLanguageModel model)
    {
        var turn = new TrainingTurn(model);
        return Running.TryAdd(model, turn)
            ? turn
            : throw new InvalidOperationException("The model is being trained; expected that one run of its trainers ends before the next begins.");
    }

    public void Dispose() => Running.Remove(model);
}
