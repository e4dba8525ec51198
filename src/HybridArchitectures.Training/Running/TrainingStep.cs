using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>One step of a run; valid while the callback that is given it runs.</summary>
public sealed class TrainingStep
{
    readonly Tensor loss, gradientNorm;

    internal TrainingStep(Trainer trainer, long step, double learningRate, Tensor loss, Tensor gradientNorm, IReadOnlyList<TokenBatch> batches)
    {
        (Trainer, Step, LearningRate, this.loss, this.gradientNorm, Batches) = (trainer, step, learningRate, loss, gradientNorm, batches);
    }

    /// <summary>The trainer.</summary>
    public Trainer Trainer { get; }

    /// <summary>Steps done, this one included.</summary>
    public long Step { get; }

    /// <summary>Gets the rows the step was trained on, one batch per forward pass. The trainer disposes them after the callbacks.</summary>
    public IReadOnlyList<TokenBatch> Batches { get; }

    /// <summary>The step's rate.</summary>
    public double LearningRate { get; }

    /// <summary>Reads the step's mean cross entropy, in nats per token.</summary>
    public double ReadLoss() => Read(loss);

    /// <summary>Reads the norm of the step's gradients before clipping.</summary>
    public double ReadGradientNorm() => Read(gradientNorm);

    static double Read(Tensor value)
    {
        // on a GPU reading makes a copy
        using var scope = NewDisposeScope();
        return value.item<float>();
    }
}
