using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using Microsoft.Win32.SafeHandles;
using static TorchSharp.torch;

namespace HybridArchitectures.Storage;

/// <summary>
/// Reads numbers of a file into tensors in main memory and converts bfloat16 to float32 with all processors. One thread reads the next piece into a
/// buffer that fits into the processor's cache, while the others convert theirs. A memory mapping would avoid that copy, but ends the process if
/// another one shortens the file.
/// </summary>
static unsafe class ParallelRead
{
    const int PieceElements = 1 << 21;      // 4 MiB of bfloat16: smaller pieces are read more slowly, and larger ones exceed the cache
    const int MaxThreads = 16;

    /// <summary>Returns whether a tensor can be filled from a file of this dtype without an intermediate copy of the whole.</summary>
    public static bool Serves(ScalarType stored, Tensor target) =>
        target.device_type == TorchSharp.DeviceType.CPU && target.is_contiguous()
            && (stored == target.dtype ? stored != ScalarType.Bool : stored == ScalarType.BFloat16 && target.dtype == ScalarType.Float32);

    /// <summary>Fills a tensor from the file, starting at an offset in bytes.</summary>
    public static void Fill(SafeFileHandle file, long offset, ScalarType stored, Tensor target, string path)
    {
        bool widen = stored != target.dtype;
        var pieces = new Pieces(file, offset, path, target, widen);
        try
        {
            int workers = widen ? (int)Math.Min(pieces.Count, Math.Min(MaxThreads, Environment.ProcessorCount)) : 1;
            if (workers == 1) pieces.Work();
            else Parallel.For(0, workers, _ => pieces.Work());
        }
        catch (AggregateException errors) when (errors.InnerExceptions.Count > 0)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(errors.InnerExceptions[0]);
        }
        MarkChanged(target);
    }

    /// <summary>
    /// Divides a tensor into pieces. They are read sequentially, which suits the system's read-ahead, and converted in parallel.
    /// </summary>
    sealed class Pieces(SafeFileHandle file, long offset, string path, Tensor target, bool widen)
    {
        readonly Lock turn = new();
        readonly long elements = target.NumberOfElements, size = widen ? sizeof(ushort) : target.ElementSize;
        readonly nint destination = TensorMemory.Pointer(target);
        long next;

        public long Count => (elements + PieceElements - 1) / PieceElements;

        /// <summary>Reads pieces until none is left, and converts them if the dtypes differ.</summary>
        public void Work()
        {
            byte[]? buffer = widen ? ArrayPool<byte>.Shared.Rent((int)Math.Min(PieceElements, elements) * sizeof(ushort)) : null;
            try
            {
                while (Read(buffer) is { } piece)
                    if (buffer is not null)
                        Widen(MemoryMarshal.Cast<byte, ushort>(buffer.AsSpan(0, piece.Length * sizeof(ushort))),
                            new Span<float>((float*)destination + piece.First, piece.Length));
            }
            finally
            {
                if (buffer is not null) ArrayPool<byte>.Shared.Return(buffer);
            }
        }

        // reads the next piece into the buffer, or into the tensor if there is none
        (long First, int Length)? Read(byte[]? buffer)
        {
            lock (turn)
            {
                if (next == Count) return null;
                long first = next++ * PieceElements;
                int length = (int)Math.Min(PieceElements, elements - first);
                var bytes = buffer is null ? new Span<byte>((byte*)destination + first * size, (int)(length * size))
                    : buffer.AsSpan(0, length * sizeof(ushort));
                SafetensorsFile.ReadFully(file, bytes, offset + first * size, path);
                return (first, length);
            }
        }
    }

    // caches of converted weights depend on a tensor's version, which libtorch does not raise when memory is written without it
    static void MarkChanged(Tensor target)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        target.view(-1).narrow(0, 0, 0).zero_();
    }

    /// <summary>Converts bfloat16, the upper half of a float32, to float32.</summary>
    static void Widen(ReadOnlySpan<ushort> source, Span<float> target)
    {
        int i = 0, step = Vector<ushort>.Count;
        var bits = MemoryMarshal.Cast<float, uint>(target);
        for (; i <= source.Length - step; i += step)
        {
            Vector.Widen(new Vector<ushort>(source[i..]), out var low, out var high);
            (low << 16).CopyTo(bits[i..]);
            (high << 16).CopyTo(bits[(i + step / 2)..]);
        }
        for (; i < source.Length; i++) bits[i] = (uint)source[i] << 16;
    }
}
