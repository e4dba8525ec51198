using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>Finds the first module whose output for a batch is not finite.</summary>
static class Divergence
{
    /// <summary>The location if every value is finite but the norm of all gradients is not.</summary>
    public const string OnlyTheNorm = "the norm of all gradients together (each alone is finite)";

    /// <summary>
    /// Runs the batches again, forward and, if necessary, backward, with the present parameters. Returns null if everything is finite.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="parameters">The parameters that are trained.</param>
    /// <param name="objective">Computes the loss. Null means the loss of the model.</param>
    /// <param name="batches">The batches of the step.</param>
    public static string? Find(
        HybridLanguageModel model, IReadOnlyList<ModelParameter> parameters, TrainingObjective? objective, IEnumerable<TokenBatch> batches)
    {
        var list = batches.ToList();
        foreach (var batch in list)
            if (InForward(model, objective, batch) is { } location) return location;
        return InBackward(model, parameters, objective, list);
    }

    static ModelLoss Loss(HybridLanguageModel model, TrainingObjective? objective, TokenBatch batch, SequenceContext context) =>
        objective is null ? model.Loss(batch.Ids, batch.Targets, context, batch.Weights) : objective.Compute(model, batch, context);

    static string? InForward(HybridLanguageModel model, TrainingObjective? objective, TokenBatch batch)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        string? location = null;
        var earlier = model.Stack.Observer;
        model.Stack.Observer = (index, x) =>
        {
            if (location is null && !IsFinite(x)) location = NameOf(model, index);
        };
        try
        {
            using var context = new SequenceContext(batch.Layout);
            var loss = Loss(model, objective, batch, context);
            if (location is null && !IsFinite(loss.CrossEntropy)) location = "the head's cross entropy";
            if (location is null && !IsFinite(loss.Total)) location = objective is null ? "an auxiliary loss" : "the loss of the objective";
        }
        finally
        {
            model.Stack.Observer = earlier;
        }
        return location;
    }

    // gradients flow from the last layer to the first, so the last bad parameter is the first that became bad
    static string? InBackward(
        HybridLanguageModel model, IReadOnlyList<ModelParameter> parameters, TrainingObjective? objective, List<TokenBatch> batches)
    {
        using var scope = NewDisposeScope();
        try
        {
            foreach (var batch in batches)
            {
                using var inner = NewDisposeScope();
                using var context = new SequenceContext(batch.Layout);
                Autograd.Backward(Loss(model, objective, batch, context).Total);
            }
            using var noGrad = no_grad();
            foreach (var parameter in parameters.Reverse())
                if (parameter.Value.grad is { } gradient && !IsFinite(gradient)) return $"the gradient of '{parameter.Name}'";
            return null;
        }
        finally
        {
            foreach (var parameter in parameters) parameter.Value.grad = null;
        }
    }

    static bool IsFinite(Tensor x)
    {
        using var scope = NewDisposeScope();
        return x.NumberOfElements == 0 || x.isfinite().all().item<bool>();
    }

    static string NameOf(HybridLanguageModel model, int index)
    {
        int count = model.Design.Blocks.Count;
        return index < 0 ? "the embedding" : index >= count ? "the final norm"
            : $"block {index + 1} of {count} ({model.Design.Blocks[index].Symbol})";
    }
}
