using HybridArchitectures.Modules;
using TorchSharp.Modules;

namespace HybridArchitectures.Adapters;

/// <summary>A weight that may have an adapter.</summary>
/// <param name="Name">The weight's name in a checkpoint.</param>
/// <param name="Owner">The module that uses it.</param>
/// <param name="Parameter">What the owner calls it.</param>
/// <param name="Target">The part of the model it belongs to.</param>
/// <param name="Block">Number of its block from 0; null outside blocks.</param>
sealed record LoraSite(string Name, HybridModule Owner, string Parameter, LoraTargets Target, int? Block)
{
    /// <summary>The weight as it is now.</summary>
    public Parameter Weight => Owner.ProjectionWeight(Parameter);

    /// <summary>Its adapter, or null.</summary>
    public LoraWeight? Adapter => Owner.Adapter(Parameter);
}
