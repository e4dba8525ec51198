using System.Globalization;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Adapters;

/// <summary>Finds all projections of a model.</summary>
static class LoraSites
{
    public static IReadOnlyList<LoraSite> FromModel(HybridLanguageModel model)
    {
        var sites = new List<LoraSite>();
        Visit(model, "", LoraTargets.OtherMixers, null, sites);
        return sites;
    }

    static void Visit(HybridModule module, string prefix, LoraTargets target, int? block, List<LoraSite> sites)
    {
        target = module switch
        {
            Mixer { Kind: MixerKind.Attention } => LoraTargets.Attention,
            Mixer { Kind: MixerKind.Recurrent } => LoraTargets.StateSpace,
            Mixer or SharedTransformerAdapter => LoraTargets.OtherMixers,
            FeedForward => LoraTargets.FeedForward,
            _ => target,
        };
        foreach (string parameter in module.ProjectionWeights)
        {
            var siteTarget = module switch
            {
                HybridLanguageModel => LoraTargets.Head,
                MixtureOfExperts => LoraTargets.Experts,
                _ => target,
            };
            sites.Add(new(prefix + parameter, module, parameter, siteTarget, block));
        }
        foreach (var (name, child) in module.named_children())
        {
            if (child is not HybridModule submodule || submodule is LoraWeight) continue;
            var inside = module is MixtureOfExperts && name is "router" or "shared_gate" ? LoraTargets.Routers : target;
            int? number = child is Block ? int.Parse(name, CultureInfo.InvariantCulture) : block;
            Visit(submodule, $"{prefix}{name}.", inside, number, sites);
        }
    }
}
