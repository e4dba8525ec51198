using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>One tensor of a <see cref="SafetensorsFile"/>, as its header describes it.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Type">The element type it is stored in.</param>
/// <param name="Shape">Its sizes; empty for a single number.</param>
/// <param name="Offset">Where its first byte stands, counted from the start of the file.</param>
/// <param name="ByteCount">How many bytes it takes: the product of <paramref name="Shape"/> times the element size.</param>
public sealed record SafetensorsEntry(string Name, ScalarType Type, IReadOnlyList<long> Shape, long Offset, long ByteCount)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Name}: {Type}[{string.Join(", ", Shape)}]";
}
