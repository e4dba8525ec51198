using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>A tensor somewhere.</summary>
/// <param name="Type">Its element type there.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Read">Brings it to main memory, in the current dispose scope; null where it has a shape but no numbers.</param>
sealed record StoredTensor(ScalarType Type, IReadOnlyList<long> Shape, Func<Tensor>? Read)
{
    public override string ToString() => $"{Type}[{string.Join(", ", Shape)}]";
}
