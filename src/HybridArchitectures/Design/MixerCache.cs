namespace HybridArchitectures.Design;

/// <summary>Bytes that a mixer's cache holds for one row, by kind.</summary>
/// <param name="KeysAndValues">Keys and values of all positions.</param>
/// <param name="Windows">Keys, values and positions of a sliding window with its sinks and one spare slot.</param>
/// <param name="Convolutions">The last inputs of convolutions.</param>
/// <param name="Scans">States of recurrences: float32, or float64 where the activations are float64.</param>
/// <param name="Other">The state of a custom mixer.</param>
public readonly record struct MixerCache(long KeysAndValues = 0, long Windows = 0, long Convolutions = 0, long Scans = 0, long Other = 0)
{
    /// <summary>Returns the sum, kind by kind.</summary>
    public static MixerCache operator +(MixerCache left, MixerCache right) =>
        new(left.KeysAndValues + right.KeysAndValues, left.Windows + right.Windows,
        left.Convolutions + right.Convolutions, left.Scans + right.Scans, left.Other + right.Other);

    /// <summary>Returns the bytes of a state value for activations of a size. States are float32, or float64 if activations are float64.</summary>
    internal static int ScanElement(int elementSize) => Math.Max(sizeof(float), elementSize);
}
