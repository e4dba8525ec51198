using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Creates single mixers with the weights of a model.</summary>
static class MixerCopies
{
    /// <summary>Creates a mixer whose tensors have the names and shapes of those of a layer, and copies them.</summary>
    /// <param name="model">The model.</param>
    /// <param name="layer">The number of the layer, from 1.</param>
    /// <param name="spec">The mixer, such as the attention of the layer with another window.</param>
    /// <returns>The mixer, which the caller disposes.</returns>
    public static Mixer CopyMixer(this HybridLanguageModel model, int layer, MixerSpec spec)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var block = model.Design.Blocks[layer - 1];
        using var factory = new ModuleFactory(model.Design, model.Device, seed: 0, blank: true, model.WeightType);
        var copy = factory.At(layer, block.NormEpsilon, () => ModuleCatalogue.CreateMixer(factory, spec));
        factory.Finish();
        var given = model.Stack.Blocks[layer - 1].Mixer!.AllState().ToDictionary(item => item.Name, item => item.Value);
        foreach (var (name, value) in copy.AllState()) value.copy_(given[name]);
        return copy;
    }
}
