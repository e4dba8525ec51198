using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Provides the base class for callbacks that compute the loss of a run, in place of the cross entropy of the model. A run has at most one.
/// </summary>
/// <remarks>
/// Gradients, accumulation, clipping, guards, history and checkpoints are those of any run. <see cref="Description"/> is stored in checkpoints, and
/// <see cref="Trainer.Resume"/> requires an objective with the same one.
/// </remarks>
public abstract class TrainingObjective : TrainingCallback
{
    /// <summary>Gets a text that is the same for the same loss, and differs for another one. It must not change during a run.</summary>
    public abstract string Description { get; }

    /// <summary>Gets the head of multi-token prediction that is trained with the model. The default is null.</summary>
    internal virtual PredictionHead? TrainedHead => null;

    /// <summary>Computes the losses of one forward pass.</summary>
    /// <param name="model">The model that is trained.</param>
    /// <param name="batch">The rows. The trainer disposes them.</param>
    /// <param name="context">The context to pass to the model.</param>
    /// <returns>
    /// Scalars with their graph: the loss to minimise, and the cross entropy for the history. Both are means over the targets that count, with the
    /// weights of the batch.
    /// </returns>
    public abstract ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context);
}
