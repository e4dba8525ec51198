using static TorchSharp.torch;

namespace HybridArchitectures.Storage;

/// <summary>
/// Contains the header of a safetensors file and the places of its tensors, from names, dtypes and shapes alone. Several processes can therefore
/// write parts of one file.
/// </summary>
sealed class SafetensorsLayout
{
    readonly Dictionary<string, (long Offset, long Bytes)> ranges = new(StringComparer.Ordinal);

    SafetensorsLayout(byte[] header) => Header = header;

    /// <summary>Gets the header with its length, the start of the file.</summary>
    public ReadOnlyMemory<byte> Header { get; }

    /// <summary>Gets the length of the file in bytes.</summary>
    public long Length { get; private set; }

    /// <summary>Gets the offset in the file and the number of bytes of a tensor.</summary>
    public (long Offset, long Bytes) this[string name] => ranges[name];

    /// <summary>Returns the layout for tensors.</summary>
    /// <param name="tensors">Names, dtypes and shapes.</param>
    /// <param name="metadata">Texts for the header. The default, null, means none.</param>
    /// <exception cref="ArgumentException">A name occurs twice or is reserved, or the format does not support a dtype.</exception>
    public static SafetensorsLayout Create(
        IEnumerable<(string Name, ScalarType Type, long[] Shape)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        var items = new List<(string Name, string Type, long[] Shape, int Size)>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, dtype, shape) in tensors)
        {
            if (name == "__metadata__" || !names.Add(name))
                throw Require.Unfit(nameof(tensors), $"tensor name '{name}' {(name == "__metadata__" ? "is reserved" : "occurs twice")}",
                    "another name");
            var (type, size) = SafetensorsTypes.FromScalarType(dtype)
                ?? throw Require.Unfit(nameof(tensors), $"tensor '{name}' is {dtype}", $"one of {SafetensorsTypes.Names}");
            items.Add((name, type, shape, size));
        }
        // large elements first, so that every tensor begins at a multiple of its element size
        items.Sort((a, b) => a.Size != b.Size ? b.Size.CompareTo(a.Size) : string.CompareOrdinal(a.Name, b.Name));
        static long Bytes((string Name, string Type, long[] Shape, int Size) item) =>
            item.Shape.Aggregate(1L, (product, extent) => product * extent) * item.Size;
        var layout = new SafetensorsLayout(
            SafetensorsHeader.Format(items.ConvertAll(item => (item.Name, item.Type, item.Shape, Bytes(item))), metadata));
        long offset = layout.Header.Length;
        foreach (var item in items)
        {
            layout.ranges.Add(item.Name, (offset, Bytes(item)));
            offset += Bytes(item);
        }
        layout.Length = offset;
        return layout;
    }
}
