using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains one of the two branches that <see cref="Operators.BranchFusion"/> combines.</summary>
/// <param name="Value">The output of the branch, shape (..., width), float32, bfloat16 or float64.</param>
/// <param name="Weight">
/// The scale per channel after the norm, shape (width), float32 or in the dtype of the value. The default, null, means 1.
/// </param>
/// <param name="Groups">
/// The number of equal groups that are normalized separately: 1 for the whole width, the number of heads for one norm per head. The default, 0, means
/// no norm.
/// </param>
public sealed record FusionBranch(Tensor Value, Tensor? Weight = null, int Groups = 0);
