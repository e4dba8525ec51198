using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>Finds the first module whose output for a batch is not finite.</summary>
static class Divergence
{
    /// <summary>The place if every value is finite but the norm of all gradients is not.</summary>
    public const string OnlyTheNorm = "the norm of all gradients together (each alone is finite)";

    /// <summary>
    /// Runs the batches again, forward and, if necessary, backward, with the present parameters. Returns null if everything is finite.
    /// </summary>
    public static string? Find(HybridLanguageModel model, IEnumerable<TokenBatch> batches)
    {
        var list = batches.ToList();
        foreach (var batch in list)
            if (InForward(model, batch) is { } location) return location;
        return InBackward(model, list);
    }

    static string? InForward(HybridLanguageModel model, TokenBatch batch)
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
            var loss = model.Loss(batch.Ids, batch.Targets, context, batch.Weights);
            if (location is null && !IsFinite(loss.CrossEntropy)) location = "the head's cross entropy";
            if (location is null && !IsFinite(loss.Total)) location = "an auxiliary loss";
        }
        finally
        {
            model.Stack.Observer = earlier;
        }
        return location;
    }

    // gradients flow from the last layer to the first, so the last bad parameter is the first that became bad
    static string? InBackward(HybridLanguageModel model, List<TokenBatch> batches)
    {
        using var scope = NewDisposeScope();
        var parameters = model.Parameters;
        try
        {
            foreach (var batch in batches)
            {
                using var inner = NewDisposeScope();
                using var context = new SequenceContext(batch.Layout);
                Autograd.Backward(model.Loss(batch.Ids, batch.Targets, context, batch.Weights).Total);
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
