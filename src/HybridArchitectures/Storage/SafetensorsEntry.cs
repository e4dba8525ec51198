using static TorchSharp.torch;

namespace HybridArchitectures.Storage;

/// <summary>Describes one tensor of a <see cref="SafetensorsFile"/>, as in its header.</summary>
/// <param name="Name">The name of the tensor.</param>
/// <param name="Type">The dtype in the file.</param>
/// <param name="Shape">The shape. Empty for a single number.</param>
/// <param name="Offset">The offset of the first byte from the start of the file.</param>
/// <param name="ByteCount">The number of bytes: the product of <paramref name="Shape"/> times the element size.</param>
public sealed record SafetensorsEntry(string Name, ScalarType Type, IReadOnlyList<long> Shape, long Offset, long ByteCount)
{
    /// <summary>Gets the dtype.</summary>
    public ScalarType Type { get; init => field = Require.Defined(value, nameof(Type)); } = Require.Defined(Type, nameof(Type));

    /// <inheritdoc/>
    public override string ToString() => $"{Name}: {Type}[{string.Join(", ", Shape)}]";
}
