using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>Provides access to one step of a run. It is valid only during the callback.</summary>
public sealed class TrainingStep
{
    readonly Tensor loss, gradientNorm;

    internal TrainingStep(Trainer trainer, long step, double learningRate, Tensor loss, Tensor gradientNorm, IReadOnlyList<TokenBatch> batches)
    {
        (Trainer, Step, LearningRate, this.loss, this.gradientNorm, Batches) = (trainer, step, learningRate, loss, gradientNorm, batches);
    }

    /// <summary>Gets the trainer.</summary>
    public Trainer Trainer { get; }

    /// <summary>Gets the number of steps so far, including this one.</summary>
    public long Step { get; }

    /// <summary>Gets the rows of the step, one batch per forward pass. The trainer disposes them after the callbacks.</summary>
    public IReadOnlyList<TokenBatch> Batches { get; }

    /// <summary>Gets the learning rate of the step.</summary>
    public double LearningRate { get; }

    /// <summary>Reads the mean cross entropy of the step, in nats per token.</summary>
    public double ReadLoss() => Read(loss);

    /// <summary>Reads the norm of the gradients of the step before clipping.</summary>
    public double ReadGradientNorm() => Read(gradientNorm);

    static double Read(Tensor value)
    {
        // on a GPU, reading creates a copy
        using var scope = NewDisposeScope();
        return value.item<float>();
    }
}
