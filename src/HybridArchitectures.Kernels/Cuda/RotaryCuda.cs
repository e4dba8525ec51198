using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes the rotary embedding on a GPU with the kernel in <c>Rotary.cu</c>. The gradient of a rotation is the reverse rotation.</summary>
static class RotaryCuda
{
    struct Arguments
    {
        public nint X, Cosine, Sine, Output;
        public long Length, Heads, Size, Half, RowStride, TokenStride, HeadStride, OutputRow, OutputToken, OutputHead, TableRow;
        public float Sign;
    }

    struct AppendArguments
    {
        public nint Query, Key, Value, Cosine, Sine, Lengths, Turned, Keys, Values, Positions;
        public long Length, QueryHeads, KeyHeads, Size, ValueSize, Half, TableLength, Slots, Sinks, Window;
        public long QueryRow, QueryToken, QueryHead, KeyRow, KeyToken, KeyHead, ValueRow, ValueToken, ValueHead;
        public long KeysRow, KeysSlot, KeysHead, ValuesRow, ValuesSlot, ValuesHead, PositionsRow;
    }

    /// <summary>Appends to the cache. The arguments are those of <see cref="Operators.CacheAppend.Forward"/>.</summary>
    public static Tensor Append(Tensor query, Tensor key, Tensor value, CacheTarget target)
    {
        using var scope = NewDisposeScope();
        (query, key, value) = (Dense(query), Dense(key), Dense(value));
        var rotated = target.Table is null ? query.alias() : CudaMemory.NewLike(query);
        var arguments = CreateArguments(query, key, value, rotated, target);
        CudaRuntime.DeviceOf(query).Launch("Rotary.cu", $"append_{CudaMemory.Suffix(query.dtype, IsWide(arguments, query.ElementSize))}",
            (query.size(0) * query.size(1), 1, 1), 256, 0, arguments);
        GC.KeepAlive((query, key, value, target));
        return rotated.MoveToOuterDisposeScope();
    }

    static AppendArguments CreateArguments(Tensor query, Tensor key, Tensor value, Tensor rotated, CacheTarget target)
    {
        var (table, keys, values, positions) = (target.Table, target.Keys, target.Values, target.Positions);
        return new()
        {
            Query = table is null ? 0 : CudaMemory.Address(query), Key = CudaMemory.Address(key), Value = CudaMemory.Address(value),
            Cosine = CudaMemory.Address(table?.Cosine), Sine = CudaMemory.Address(table?.Sine), Lengths = CudaMemory.Address(target.Lengths),
            Turned = CudaMemory.Address(rotated), Keys = CudaMemory.Address(keys), Values = CudaMemory.Address(values),
            Positions = CudaMemory.Address(positions),
            Length = query.size(1), QueryHeads = query.size(2), KeyHeads = key.size(2), Size = key.size(3), ValueSize = value.size(3),
            Half = table?.Cosine.size(1) ?? 0, TableLength = table?.Cosine.size(0) ?? 1, Slots = keys.size(1), Sinks = target.Sinks,
            Window = target.Window,
            QueryRow = query.stride(0), QueryToken = query.stride(1), QueryHead = query.stride(2),
            KeyRow = key.stride(0), KeyToken = key.stride(1), KeyHead = key.stride(2),
            ValueRow = value.stride(0), ValueToken = value.stride(1), ValueHead = value.stride(2),
            KeysRow = keys.stride(0), KeysSlot = keys.stride(1), KeysHead = keys.stride(2),
            ValuesRow = values.stride(0), ValuesSlot = values.stride(1), ValuesHead = values.stride(2), PositionsRow = positions?.stride(0) ?? 0,
        };
    }

    // whether all rows can be read and written in pieces of 16 bytes
    static bool IsWide(in AppendArguments args, long elementSize)
    {
        long strides = args.QueryRow | args.QueryToken | args.QueryHead | args.KeyRow | args.KeyToken | args.KeyHead
            | args.ValueRow | args.ValueToken | args.ValueHead | args.KeysRow | args.KeysSlot | args.KeysHead
            | args.ValuesRow | args.ValuesSlot | args.ValuesHead | args.Size | args.ValueSize | args.Half;
        nint addresses = args.Query | args.Key | args.Value | args.Keys | args.Values | args.Turned;
        return (strides * elementSize | addresses) % 16 == 0;
    }

    static Tensor Dense(Tensor x) => x.size(3) > 1 && x.stride(3) != 1 ? x.contiguous() : x;

    /// <summary>Rotates the heads, or in reverse.</summary>
    public static Tensor Rotate(RotaryInputs inputs, bool reverse)
    {
        using var scope = NewDisposeScope();
        var x = Dense(inputs.X);
        var output = CudaMemory.NewLike(x);
        if (x.NumberOfElements == 0) return output.MoveToOuterDisposeScope();
        var (cosine, sine) = (inputs.Cosine.contiguous(), inputs.Sine.contiguous());
        long half = cosine.size(2);
        var arguments = new Arguments
        {
            X = CudaMemory.Address(x), Cosine = CudaMemory.Address(cosine), Sine = CudaMemory.Address(sine), Output = CudaMemory.Address(output),
            Length = x.size(1), Heads = x.size(2), Size = x.size(3), Half = half,
            RowStride = x.stride(0), TokenStride = x.stride(1), HeadStride = x.stride(2),
            OutputRow = output.stride(0), OutputToken = output.stride(1), OutputHead = output.stride(2),
            TableRow = cosine.size(0) == 1 ? 0 : x.size(1) * half, Sign = reverse ? -1 : 1,
        };
        long strides = arguments.RowStride | arguments.TokenStride | arguments.HeadStride | arguments.OutputRow | arguments.OutputToken
            | arguments.OutputHead;
        bool wide = ((strides | half | arguments.Size) * x.ElementSize | arguments.X | arguments.Output) % 16 == 0;
        CudaRuntime.DeviceOf(x).Launch("Rotary.cu", $"rotary_{CudaMemory.Suffix(x.dtype, wide)}", (x.size(0) * x.size(1), 1, 1), 128, 0, arguments);
        GC.KeepAlive((x, cosine, sine, output));
        return output.MoveToOuterDisposeScope();
    }
}
