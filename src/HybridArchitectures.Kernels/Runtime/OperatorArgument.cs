using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents one argument of a <see cref="TorchOperator"/> call: a tensor, a number, a Boolean, a list, or nothing.</summary>
public readonly unsafe struct OperatorArgument
{
    readonly object? reference;     // Tensor, IReadOnlyList<Tensor>, long[]
    readonly ulong bits;
    readonly bool optional;         // a value for an optional parameter is passed by pointer

    OperatorArgument(object? reference, ulong bits = 0, bool optional = false)
    {
        this.reference = reference;
        this.bits = bits;
        this.optional = optional;
    }

    /// <summary>Gets the absent value of an optional parameter.</summary>
    public static OperatorArgument None => default;

    /// <summary>Creates a value for a parameter of type <c>float?</c>.</summary>
    public static OperatorArgument Optional(double? value) =>
        value is { } number ? new(null, BitConverter.DoubleToUInt64Bits(number), true) : default;

    /// <summary>Creates a value for a parameter of type <c>int?</c>.</summary>
    public static OperatorArgument Optional(long? value) => value is { } number ? new(null, (ulong)number, true) : default;

    /// <summary>Creates a value for a parameter of type <c>Tensor?</c>.</summary>
    public static OperatorArgument Optional(Tensor? value) => value is null ? default : new(value, 0, true);

    /// <summary>Converts a tensor.</summary>
    public static implicit operator OperatorArgument(Tensor value) => new(value ?? throw new ArgumentNullException(nameof(value)));

    /// <summary>Converts a list of tensors.</summary>
    public static implicit operator OperatorArgument(Tensor[] value) => new(value ?? throw new ArgumentNullException(nameof(value)));

    /// <summary>Converts a list of integers.</summary>
    public static implicit operator OperatorArgument(long[] value) => new(value ?? throw new ArgumentNullException(nameof(value)));

    /// <summary>Converts a floating-point number.</summary>
    public static implicit operator OperatorArgument(double value) => new(null, BitConverter.DoubleToUInt64Bits(value));

    /// <summary>Converts an integer.</summary>
    public static implicit operator OperatorArgument(long value) => new(null, (ulong)value);

    /// <summary>Converts a Boolean.</summary>
    public static implicit operator OperatorArgument(bool value) => new(null, value ? 1ul : 0ul);

    internal ulong ToSlot()
    {
        ulong slot = reference switch
        {
            null => bits,
            Tensor tensor => Handle(tensor),
            Tensor[] tensors => List(tensors.Length, i => Handle(tensors[i])),
            long[] numbers => List(numbers.Length, i => (ulong)numbers[i]),
            _ => throw new InvalidOperationException(),
        };
        if (!optional) return slot;
        var box = (ulong*)NativeMemory.Alloc(sizeof(ulong));    // libtorch frees it
        *box = slot;
        return (ulong)box;
    }

    internal void KeepAlive() => GC.KeepAlive(reference);

    static ulong Handle(Tensor tensor) =>
        LibTorch.aoti_torch_new_tensor_handle(tensor.Handle, out var copy) == 0 ? (ulong)copy
            : throw new InvalidOperationException("libtorch gave no handle for a tensor");

    static ulong List(int count, Func<int, ulong> item)
    {
        if (LibTorch.torch_new_list_reserve_size((nuint)count, out var list) != 0) throw new InvalidOperationException("libtorch gave no list");
        for (int i = 0; i < count; i++)
            if (LibTorch.torch_list_push_back(list, item(i)) != 0) throw new InvalidOperationException("libtorch took no list item");
        return (ulong)list;
    }

    /// <inheritdoc/>
    public override string ToString() => reference switch
    {
        Tensor tensor => $"{tensor.dtype}[{string.Join(",", tensor.shape)}]",
        Tensor[] tensors => $"{tensors.Length} tensors",
        long[] numbers => $"[{string.Join(",", numbers)}]",
        _ => bits == 0 && !optional ? "0/none" : BitConverter.UInt64BitsToDouble(bits) is var number && Math.Abs(number) is > 1e-300 and < 1e300
        ? $"{number}" : $"{bits}",
    };
}
