using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace KilledRun;

/// <summary>Moves a parameter by random numbers of torch's own generator, so that its state matters for all that follows.</summary>
sealed class Noise : TrainingCallback
{
    public override void OnStep(TrainingStep step)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var embedding = step.Trainer.Model.Embedding;
        embedding.add_(randn_like(embedding).mul(Scalars.From(1e-3)), Scalars.One);
    }
}
