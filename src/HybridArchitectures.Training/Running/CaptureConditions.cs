using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp.Modules;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Contains everything that a captured training step depends on and that does not lie in the memory of the weights: which parameters the model has,
/// where they are, which of them are trained, and the options of the operators. User code between two steps can change it. Values of weights may
/// change freely, because a graph reads them.
/// </summary>
sealed class CaptureConditions
{
    readonly HybridLanguageModel model;
    readonly List<(Parameter Value, long Address, bool IsTrained)> parameters = [];
    readonly OperatorOptions options = OperatorOptions.Current;

    /// <summary>Notes the present conditions.</summary>
    /// <param name="model">The model.</param>
    public CaptureConditions(HybridLanguageModel model)
    {
        this.model = model;
        foreach (var (_, value, _) in model.AllParameters()) parameters.Add((value, TensorMemory.Pointer(value), value.requires_grad));
    }

    /// <summary>Returns whether a step captured under these conditions is still a step of the model.</summary>
    public bool Hold()
    {
        if (OperatorOptions.Current != options) return false;
        int at = 0;
        foreach (var (_, value, _) in model.AllParameters())
        {
            if (at == parameters.Count || !ReferenceEquals(value, parameters[at].Value) || value.IsInvalid) return false;
            if (TensorMemory.Pointer(value) != parameters[at].Address || value.requires_grad != parameters[at].IsTrained) return false;
            at++;
        }
        return at == parameters.Count;
    }

    /// <summary>Returns why the next step must run directly, although the steps of the run can be captured; null if it need not.</summary>
    /// <param name="model">The model.</param>
    public static string? Exception(HybridLanguageModel model)
    {
        if (model.Stack.Observer is not null) return "an observer looks at the stack";
        if (model.Stack.ActivationCheckpointing) return "activations are computed again";
        if (model.AttachedAdapters is not null) return "adapters draw random numbers";
        foreach (var (name, value, _) in model.AllParameters())
        {
            if (value.IsInvalid) return $"parameter '{name}' is gone";
            // a direct backward pass adds to it
            if (value.requires_grad && HasGradient(value)) return $"parameter '{name}' has a gradient already";
        }
        return null;
    }

    static bool HasGradient(Parameter value)
    {
        using var gradient = value.grad;
        return gradient is not null;
    }
}
