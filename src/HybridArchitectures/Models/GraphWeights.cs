using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>The memory of the weights of a model, and of another module if there is one, that a captured step reads.</summary>
sealed class GraphWeights
{
    readonly HybridLanguageModel model;
    readonly (Tensor Weight, long Address)[] weights;
    readonly HybridModule[] modules;
    long stored;

    public GraphWeights(HybridLanguageModel model, HybridModule? other = null)
    {
        this.model = model;
        HybridModule[] roots = other is null ? [model] : [model, other];
        modules = [.. roots.SelectMany(root => root.AllModules())];
        weights = [.. roots.SelectMany(root => root.AllParameters()).Select(item => ((Tensor)item.Value, (long)TensorMemory.Pointer(item.Value)))];
    }

    /// <summary>Notes the results that modules have stored, after a step was run or captured.</summary>
    public void Remember() => stored = Stored();

    /// <summary>
    /// Returns whether a graph reads the weights of the model, and results stored from weights are those of the weights. Changes of weights in place
    /// do not matter.
    /// </summary>
    public bool IsCurrent()
    {
        if (model.AttachedAdapters is not null || model.Stack.Observer is not null) return false;
        foreach (var (weight, address) in weights)
            if (weight.IsInvalid || TensorMemory.Pointer(weight) != address) return false;
        foreach (var module in modules)
            if (!module.StoredResultsAreCurrent) return false;
        // another pass may have stored them again
        return stored == Stored();
    }

    long Stored() => modules.Sum(module => module.StoredResults);
}
