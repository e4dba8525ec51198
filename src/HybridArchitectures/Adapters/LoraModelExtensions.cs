using HybridArchitectures.Models;

namespace HybridArchitectures.Adapters;

/// <summary>Finds the adapters of a model.</summary>
public static class LoraModelExtensions
{
    /// <summary>Returns the low-rank adapters that are attached to the model; null if there are none.</summary>
    /// <param name="model">The model.</param>
    public static LoraAdapters? Adapters(this HybridLanguageModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return (LoraAdapters?)model.AttachedAdapters;
    }
}
