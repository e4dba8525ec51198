using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>One of the two branches that <see cref="BranchFusion"/> joins.</summary>
/// <param name="Value">(..., width): float32, bfloat16 or float64.</param>
/// <param name="Weight">(width), a factor per channel, applied after the norm: float32 or of the value's type; null for 1.</param>
/// <param name="Groups">RMSNorm is taken over so many equal parts of the width: 1 for all of it, the number of heads for one norm a head; 0 for no norm.</param>
public sealed record FusionBranch(Tensor Value, Tensor? Weight = null, int Groups = 0);
