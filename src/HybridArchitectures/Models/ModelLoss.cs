using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>Contains the losses of a pass as scalars with their graph.</summary>
/// <param name="Total">The loss to minimise: the cross entropy plus the auxiliary losses of layers.</param>
/// <param name="CrossEntropy">The mean over the targets that count, in nats per token.</param>
public sealed record ModelLoss(Tensor Total, Tensor CrossEntropy);
