using static TorchSharp.torch;

namespace HybridArchitectures.Storage;

/// <summary>Represents a tensor in a checkpoint or model.</summary>
/// <param name="Type">The dtype of the tensor.</param>
/// <param name="Shape">The shape of the tensor.</param>
/// <param name="Read">Copies it to main memory, in the current dispose scope. Null if it has a shape but no values.</param>
sealed record StoredTensor(ScalarType Type, IReadOnlyList<long> Shape, Func<Tensor>? Read)
{
    public override string ToString() => $"{Type}[{string.Join(", ", Shape)}]";
}
