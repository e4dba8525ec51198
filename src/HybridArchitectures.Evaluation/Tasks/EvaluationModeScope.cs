using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Turns off training behaviour, such as dropout, and gradients until it is disposed.</summary>
sealed class EvaluationModeScope : IDisposable
{
    readonly LanguageModel model;
    readonly bool wasTraining;
    readonly IDisposable noGrad;

    public EvaluationModeScope(LanguageModel model)
    {
        (this.model, wasTraining) = (model, model.training);
        if (wasTraining) model.eval();
        noGrad = no_grad();
    }

    public void Dispose()
    {
        noGrad.Dispose();
        if (wasTraining) model.train();
    }
}
