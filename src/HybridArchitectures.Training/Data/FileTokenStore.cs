using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using Microsoft.Win32.SafeHandles;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads tokens from a file on demand. The file is read and not mapped: if a mapped file is shortened, or unmapped by another thread, the operating
/// system ends the process at the next access. A read beyond the new end throws an exception.
/// </summary>
sealed unsafe class FileTokenStore : ITokenStore
{
    const int BlockTokens = 4096;
    const int TensorChunkBytes = 1 << 26;

    readonly SafeFileHandle file;
    readonly string path;
    readonly long offset;
    readonly int vocabulary;

    public FileTokenStore(string path, long offset, long count, bool small, int vocabulary)
    {
        (this.path, this.offset, Count, IsSmall, this.vocabulary) = (path, offset, count, small, vocabulary);
        file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, FileOptions.RandomAccess);
    }

    public long Count { get; }

    public bool IsSmall { get; }

    int TokenBytes => IsSmall ? sizeof(ushort) : sizeof(int);

    public void CopyTo(long start, Span<long> target)
    {
        Span<int> block = stackalloc int[BlockTokens];
        while (target.Length > 0)
        {
            int count = Math.Min(target.Length, IsSmall ? 2 * BlockTokens : BlockTokens);
            var bytes = MemoryMarshal.AsBytes(block)[..(count * TokenBytes)];
            ReadFully(bytes, offset + start * TokenBytes);
            int bad = IsSmall ? Widen(MemoryMarshal.Cast<byte, ushort>(bytes), target) : Widen(MemoryMarshal.Cast<byte, int>(bytes), target);
            if (bad >= 0)
                throw new InvalidDataException(
                    $"{path}: token {start + bad}, at offset {offset + (start + bad) * TokenBytes}, is {target[bad]}; expected 0 to "
                    + $"{vocabulary - 1}");
            target = target[count..];
            start += count;
        }
    }

    // both return the index of the first token outside the vocabulary, or -1
    int Widen(ReadOnlySpan<ushort> source, Span<long> target)
    {
        target = target[..source.Length];
        int maxId = 0;
        for (int i = 0; i < source.Length; i++)
        {
            target[i] = source[i];
            maxId = Math.Max(maxId, source[i]);
        }
        return maxId < vocabulary ? -1 : source.IndexOfAnyExceptInRange((ushort)0, (ushort)(vocabulary - 1));
    }

    int Widen(ReadOnlySpan<int> source, Span<long> target)
    {
        target = target[..source.Length];
        uint maxId = 0;
        for (int i = 0; i < source.Length; i++)
        {
            target[i] = source[i];
            maxId = Math.Max(maxId, (uint)source[i]);
        }
        return maxId < (uint)vocabulary ? -1 : source.IndexOfAnyExceptInRange(0, vocabulary - 1);
    }

    void ReadFully(Span<byte> target, long from)
    {
        while (target.Length > 0)
        {
            int got = RandomAccess.Read(file, target, from);
            if (got == 0)
                throw new InvalidDataException(
                    $"{path}: the file ends at offset {RandomAccess.GetLength(file)}; expected {offset + Count * TokenBytes} bytes (the file may "
                    + "have been shortened)");
            target = target[got..];
            from += got;
        }
    }

    // 16-bit tokens are stored as the bits of Int16, the only 16-bit integers of the format
    public Tensor ToTensor()
    {
        ObjectDisposedException.ThrowIf(file.IsClosed, typeof(TokenDataset));
        var result = empty([Count], IsSmall ? ScalarType.Int16 : ScalarType.Int32);
        var memory = (byte*)TensorMemory.Pointer(result);
        long bytes = Count * TokenBytes;
        for (long done = 0; done < bytes; done += TensorChunkBytes)
            ReadFully(new Span<byte>(memory + done, (int)Math.Min(TensorChunkBytes, bytes - done)), offset + done);
        GC.KeepAlive(result);
        return result;
    }

    public void Dispose() => file.Dispose();
}
