using HybridArchitectures.Modules;

namespace HybridArchitectures.Models;

/// <summary>Lists the trainable parameters of a module.</summary>
static class TrainableParameters
{
    /// <summary>Returns every trainable tensor once, in the order of the layers, without frozen tensors.</summary>
    public static IEnumerable<ModelParameter> AllTrainable(this HybridModule module)
    {
        var matrices = module.AllMatrices().ToDictionary(item => item.Name, item => item.Layout, StringComparer.Ordinal);
        return module.AllParameters().Where(item => item.Value.requires_grad).Select(item =>
            new ModelParameter(item.Name, item.Value, item.Decays) { Matrix = matrices.GetValueOrDefault(item.Name) });
    }
}
