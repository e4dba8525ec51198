using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

public sealed partial class HybridLanguageModel
{
    /// <summary>
    /// Returns a separate model of the same design for inference. Its weights are copies in another type. Attached adapters that are not merged
    /// become part of the copied weights, with one rounding.
    /// </summary>
    /// <param name="weightType">The type of the copied weights: bfloat16 (the default) or float32.</param>
    /// <param name="compute">The type of activations. The default, null, is that of this model.</param>
    /// <returns>A model on the same device, which the caller disposes. Later changes of this model do not affect it.</returns>
    /// <exception cref="ArgumentException">Models do not have one of the types.</exception>
    /// <exception cref="InvalidOperationException">The head is tied and has an adapter, which must not change the embedding.</exception>
    public HybridLanguageModel Copy(ScalarType weightType = ScalarType.BFloat16, ScalarType? compute = null)
    {
        RequireAlive();
        var copy = Design.CreateBlankModel(compute ?? ComputeType, Device, weightType);
        try
        {
            copy.Take(this);
            return copy;
        }
        catch
        {
            copy.Dispose();
            throw;
        }
    }

    /// <summary>Copies the weights of another model of the same design to this model, which has no adapters.</summary>
    internal void Take(HybridLanguageModel source)
    {
        source.RequireAlive();
        var adapted = source.AllAdapters().Where(one => !one.Adapter.IsMerged).ToDictionary(one => one.Name, one => one.Adapter);
        if (Design.TiedHead && adapted.ContainsKey(HeadName))
            throw new InvalidOperationException(
                "the head is the embedding: a copy cannot hold its adapter; leave the head out of the targets, or untie it");
        var given = source.State;
        foreach (var (name, target) in State)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            target.copy_(adapted.TryGetValue(name, out var adapter) ? given[name].add(adapter.Update(), Scalars.One) : given[name]);
        }
    }

    /// <summary>Returns a number that changes whenever a tensor of the model is changed in place, also by an optimizer step.</summary>
    internal long Version()
    {
        RequireAlive();
        long version = WeightWrites.Count;
        foreach (var (_, value) in AllState()) version = unchecked(version * 31 + TorchOperator.CallInteger("aten::_version", "", value));
        return version;
    }
}
