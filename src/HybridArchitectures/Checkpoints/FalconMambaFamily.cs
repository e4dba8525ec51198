using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Falcon Mamba (arXiv 2410.05355): Mamba-1 with norms of the time step, B and C.</summary>
sealed class FalconMambaFamily() : MambaFamily("falcon_mamba", "FalconMambaForCausalLM")
{
    private protected override Mamba1Spec Complete(Mamba1Spec spec, PretrainedConfig config) =>
        spec with { SelectionNorm = SelectionNorm.Plain, SelectionNormEpsilon = config.Double("mixer_rms_eps", 1e-6) };

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        base.Write(design, config);
        config["mixer_rms_eps"] = First<Mamba1Spec>(design).SelectionNormEpsilon ?? design.NormEpsilon;
    }
}
