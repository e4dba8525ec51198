using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Defines how eight elements of a row are read as float32 and written, so that one kernel serves both dtypes without a branch.</summary>
unsafe interface IElement
{
    static abstract int Size { get; }

    static abstract ScalarType Type { get; }

    static abstract Vector256<float> Load(byte* row, long index);

    static abstract void Store(byte* row, long index, Vector256<float> values);

    static abstract void Copy(byte* from, long index, byte* to, long target);
}

/// <summary>Accesses rows of float32.</summary>
readonly unsafe struct Float32Element : IElement
{
    public static int Size => sizeof(float);

    public static ScalarType Type => ScalarType.Float32;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(byte* row, long index) => Vector256.Load((float*)row + index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(byte* row, long index, Vector256<float> values) => values.Store((float*)row + index);

    public static void Copy(byte* from, long index, byte* to, long target) => ((float*)to)[target] = ((float*)from)[index];
}

/// <summary>Accesses rows of bfloat16, the upper half of a float32. Values are rounded to nearest, ties to even.</summary>
readonly unsafe struct BFloat16Element : IElement
{
    public static int Size => sizeof(ushort);

    public static ScalarType Type => ScalarType.BFloat16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(byte* row, long index)
    {
        if (Avx2.IsSupported) return Vector256.ShiftLeft(Avx2.ConvertToVector256Int32((ushort*)row + index), 16).AsSingle();
        var (low, high) = Vector128.Widen(Vector128.Load((ushort*)row + index));
        return (Vector256.Create(low, high) << 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(byte* row, long index, Vector256<float> values)
    {
        var bits = values.AsUInt32();
        var rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >> 16) & Vector256<uint>.One)) >> 16;
        // rounding up could change a NaN to infinity or zero
        var result = Vector256.ConditionalSelect(Vector256.Equals(values, values).AsUInt32(), rounded, Vector256.Create(0x7FC0u));
        var narrow = Sse41.IsSupported
            ? Sse41.PackUnsignedSaturate(result.GetLower().AsInt32(), result.GetUpper().AsInt32())
            : Vector128.Narrow(result.GetLower(), result.GetUpper());
        narrow.Store((ushort*)row + index);
    }

    public static void Copy(byte* from, long index, byte* to, long target) => ((ushort*)to)[target] = ((ushort*)from)[index];
}
