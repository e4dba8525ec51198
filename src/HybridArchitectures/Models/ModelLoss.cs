using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>The loss of a pass, scalars with their graph.</summary>
/// <param name="Total">What to minimise: cross entropy plus the layers' auxiliary losses.</param>
/// <param name="CrossEntropy">Mean over the targets that count, in nats per token.</param>
public sealed record ModelLoss(Tensor Total, Tensor CrossEntropy);
