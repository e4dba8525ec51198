using static TorchSharp.torch;

namespace HybridArchitectures.Storage;

/// <summary>Contains the dtypes that both the format and libtorch support.</summary>
static class SafetensorsTypes
{
    /// <summary>Specifies the remedy for a quantised checkpoint, as a sentence of messages.</summary>
    public const string NoQuantizedWeights = "Quantised weights are not supported: load the original checkpoint, or dequantise this one first.";

    static readonly (string Name, ScalarType Type, int Size)[] All =
    [
        ("F64", ScalarType.Float64, 8), ("F32", ScalarType.Float32, 4), ("F16", ScalarType.Float16, 2), ("BF16", ScalarType.BFloat16, 2),
        ("I64", ScalarType.Int64, 8), ("I32", ScalarType.Int32, 4), ("I16", ScalarType.Int16, 2), ("I8", ScalarType.Int8, 1),
        ("U8", ScalarType.Byte, 1), ("BOOL", ScalarType.Bool, 1),
    ];

    /// <summary>Returns whether an unsupported dtype of the format contains quantized weights, in 8 bits or fewer.</summary>
    public static bool IsQuantized(string name) =>
        name is "F4" or "I4" or "U4" || name.StartsWith("F8_", StringComparison.Ordinal) || name.StartsWith("F6_", StringComparison.Ordinal);

    public static string Names => string.Join(", ", All.Select(item => item.Name));

    public static bool TryParse(string name, out ScalarType type, out int size)
    {
        foreach (var item in All)
        {
            if (item.Name != name) continue;
            (type, size) = (item.Type, item.Size);
            return true;
        }
        (type, size) = (default, 0);
        return false;
    }

    /// <summary>Returns the name and the element size of a dtype in the format, or null if it has none (for example for complex numbers).</summary>
    public static (string Name, int Size)? FromScalarType(ScalarType type)
    {
        foreach (var item in All)
            if (item.Type == type) return (item.Name, item.Size);
        return null;
    }
}
