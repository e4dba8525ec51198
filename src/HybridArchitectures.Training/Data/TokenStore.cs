using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using Microsoft.Win32.SafeHandles;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>Tokens of 16 or 32 bits in one piece of memory: an array's, or a file's mapped into the process.</summary>
sealed unsafe class TokenStore : ITokenStore
{
    readonly Array? pinned;
    readonly GCHandle handle;
    readonly MemoryMappedFile? file;
    readonly MemoryMappedViewAccessor? view;
    readonly SafeMemoryMappedViewHandle? mapped;
    readonly byte* memory;
    readonly int vocabulary;
    readonly string? path;      // of a file, which is not trusted
    readonly long fileOffset;
    bool disposed;

    TokenStore(Array values, long count, bool small, int vocabulary)
    {
        (pinned, Count, IsSmall, this.vocabulary) = (values, count, small, vocabulary);
        handle = GCHandle.Alloc(values, GCHandleType.Pinned);
        memory = (byte*)handle.AddrOfPinnedObject();
    }

    TokenStore(string path, long offset, long count, bool small, int vocabulary)
    {
        (Count, IsSmall, this.vocabulary, this.path, fileOffset) = (count, small, vocabulary, path, offset);
        file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        view = file.CreateViewAccessor(offset, count * (small ? 2 : 4), MemoryMappedFileAccess.Read);
        byte* start = null;
        mapped = view.SafeMemoryMappedViewHandle;
        mapped.AcquirePointer(ref start);
        memory = start + view.PointerOffset;
    }

    ~TokenStore() => Release(disposing: false);

    public long Count { get; }

    public bool IsSmall { get; }

    public static TokenStore InMemory(ReadOnlySpan<int> tokens, int vocabulary)
    {
        if (vocabulary > 65536) return new TokenStore(tokens.ToArray(), tokens.Length, false, vocabulary);
        var values = new ushort[tokens.Length];
        for (int i = 0; i < values.Length; i++) values[i] = (ushort)tokens[i];
        return new TokenStore(values, values.Length, true, vocabulary);
    }

    public static TokenStore Mapped(string path, long offset, long count, bool small, int vocabulary) => new(path, offset, count, small, vocabulary);

    public void CopyTo(long start, Span<long> target)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (IsSmall)
        {
            var source = (ushort*)memory + start;
            for (int i = 0; i < target.Length; i++) target[i] = source[i];
        }
        else
        {
            var source = (int*)memory + start;
            for (int i = 0; i < target.Length; i++) target[i] = source[i];
        }
        GC.KeepAlive(this);
        if (path is null) return;
        for (int i = 0; i < target.Length; i++)
            if ((ulong)target[i] >= (ulong)vocabulary)
                throw new InvalidDataException($"{path}: token {start + i}, at offset {fileOffset + (start + i) * (IsSmall ? 2 : 4)}, is {target[i]}; expected 0 to {vocabulary - 1}");
    }

    // 16-bit tokens travel as Int16, the format's only 16-bit integers, bit for bit
    public Tensor ToTensor()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        var result = empty([Count], IsSmall ? ScalarType.Int16 : ScalarType.Int32);
        long bytes = Count * (IsSmall ? 2 : 4);
        Buffer.MemoryCopy(memory, (void*)TensorMemory.Pointer(result), bytes, bytes);
        GC.KeepAlive(result);
        GC.KeepAlive(this);
        return result;
    }

    public void Dispose()
    {
        Release(disposing: true);
        GC.SuppressFinalize(this);
    }

    void Release(bool disposing)
    {
        if (disposed) return;
        disposed = true;
        if (handle.IsAllocated) handle.Free();
        mapped?.ReleasePointer();
        if (!disposing) return;     // these have finalizers of their own
        view?.Dispose();
        file?.Dispose();
    }
}
