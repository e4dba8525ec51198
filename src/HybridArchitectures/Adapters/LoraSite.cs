using HybridArchitectures.Modules;
using TorchSharp.Modules;

namespace HybridArchitectures.Adapters;

/// <summary>Describes a weight that can have an adapter.</summary>
/// <param name="Name">The name of the weight in a checkpoint.</param>
/// <param name="Owner">The module that uses the weight.</param>
/// <param name="Parameter">The name of the weight in that module.</param>
/// <param name="Target">The part of the model to which the weight belongs.</param>
/// <param name="Block">The number of the block, counted from 0. Null outside blocks.</param>
sealed record LoraSite(string Name, HybridModule Owner, string Parameter, LoraTargets Target, int? Block)
{
    /// <summary>Gets the current weight.</summary>
    public Parameter Weight => Owner.ProjectionWeight(Parameter);

    /// <summary>Gets the adapter, or null.</summary>
    public LoraWeight? Adapter => Owner.Adapter(Parameter);
}
