using System.Buffers.Binary;
using HybridArchitectures.Kernels.Runtime;
using Microsoft.Win32.SafeHandles;
using static TorchSharp.torch;

namespace HybridArchitectures.Storage;

/// <summary>
/// Reads and writes files of named tensors in the safetensors format: 8 bytes of header length (little-endian), a JSON header, and the data (
/// <see href="https://huggingface.co/docs/safetensors"/>). Tensors are read directly into their memory on request. Nothing in a file is executed. One
/// instance can be read from several threads.
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    const int ChunkBytes = 1 << 28;
    const int NamesShown = 10;      // in an exception message

    readonly SafeFileHandle file;
    readonly Dictionary<string, SafetensorsEntry> byName;

    SafetensorsFile(string path, SafeFileHandle file, List<SafetensorsEntry> entries, Dictionary<string, string> metadata)
    {
        Path = path;
        this.file = file;
        Entries = entries;
        Metadata = metadata;
        byName = entries.ToDictionary(entry => entry.Name, StringComparer.Ordinal);
    }

    /// <summary>Gets the path of the file.</summary>
    public string Path { get; }

    /// <summary>Gets the tensors, in the order of their data.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries { get; }

    /// <summary>Gets the texts of the header (<c>__metadata__</c>).</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its header: dtypes, sizes, and that the tensors fill the data without gaps or overlaps.</summary>
    /// <param name="path">The path of the file.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">
    /// The path is not a regular file, or the file is not a safetensors file, is truncated, or is inconsistent. The message contains the file, the
    /// tensor and the offset.
    /// </exception>
    public static SafetensorsFile Open(string path)
    {
        Require.NotEmpty(path);
        RegularFile.Require(path);
        var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, FileOptions.SequentialScan);
        try
        {
            long length = RandomAccess.GetLength(file);
            Span<byte> prefix = stackalloc byte[8];
            if (length < 8) throw new InvalidDataException($"{path}: {length} bytes; a safetensors file begins with 8 bytes of header length");
            ReadFully(file, prefix, 0, path);
            ulong headerBytes = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            if (headerBytes > SafetensorsHeader.MaximumBytes)
                throw new InvalidDataException(
                    $"{path}: a header of {headerBytes} bytes; expected at most {SafetensorsHeader.MaximumBytes} (is this a safetensors file?)");
            if ((long)headerBytes > length - 8)
                throw new InvalidDataException($"{path}: the header should take {headerBytes} bytes, but {length - 8} follow (truncated?)");
            var header = GC.AllocateUninitializedArray<byte>((int)headerBytes);
            ReadFully(file, header, 8, path);
            long dataStart = 8 + (long)headerBytes;
            var (entries, metadata) = SafetensorsHeader.Parse(header, dataStart, length - dataStart, path);
            return new SafetensorsFile(path, file, entries, metadata);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Returns whether the file contains a tensor with this name.</summary>
    public bool Contains(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return byName.ContainsKey(name);
    }

    /// <summary>Gets the entry of a tensor.</summary>
    /// <exception cref="KeyNotFoundException">The file does not contain the tensor.</exception>
    public SafetensorsEntry this[string name] =>
        byName.TryGetValue(name ?? throw new ArgumentNullException(nameof(name)), out var entry) ? entry
            : throw new KeyNotFoundException($"{Path}: no tensor '{name}'");

    /// <summary>Reads one tensor.</summary>
    /// <param name="name">The name.</param>
    /// <param name="type">The dtype of the result. The default, null, means that in the file.</param>
    /// <param name="device">The device of the result. The default, null, means the CPU.</param>
    public Tensor Read(string name, ScalarType? type = null, Device? device = null)
    {
        var entry = this[name];
        Require.KnownDevice(device);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var stored = empty(entry.Shape.ToArray(), entry.Type);
        ReadData(entry, stored);
        var result = stored.to(type ?? entry.Type, device ?? CPU);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>Reads one tensor into <paramref name="target"/>, which keeps its dtype and device.</summary>
    /// <param name="name">The name.</param>
    /// <param name="target">The tensor to fill.</param>
    /// <exception cref="ArgumentException"><paramref name="target"/> has another shape.</exception>
    public void ReadInto(string name, Tensor target)
    {
        Require.Alive(target);
        var entry = this[name];
        if (!entry.Shape.SequenceEqual(target.shape))
            throw Require.Unfit(nameof(target), $"{Path}: tensor '{name}' is [{string.Join(", ", entry.Shape)}]",
                $"[{string.Join(", ", target.shape)}]");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (entry.ByteCount > 0 && ParallelRead.Serves(entry.Type, target)) ParallelRead.Fill(file, entry.Offset, entry.Type, target, Path);
        else target.copy_(Read(name));
    }

    /// <summary>
    /// Fills consecutive tensors from one stored tensor, in the order of its numbers. Returns false without any change if that needs more than
    /// reading.
    /// </summary>
    internal bool TryReadSpans(string name, IReadOnlyList<Tensor> targets)
    {
        var entry = this[name];
        if (entry.ByteCount == 0 || !targets.All(target => ParallelRead.Serves(entry.Type, target))
            || targets.Sum(target => target.NumberOfElements) != entry.Shape.Aggregate(1L, (product, extent) => product * extent))
            return false;
        long offset = entry.Offset, size = entry.ByteCount / targets.Sum(target => target.NumberOfElements);
        foreach (var target in targets)
        {
            ParallelRead.Fill(file, offset, entry.Type, target, Path);
            offset += target.NumberOfElements * size;
        }
        return true;
    }

    /// <summary>Fills tensors by name. All of them must be in the file with their shapes, and nothing else. Otherwise, none is changed.</summary>
    /// <param name="targets">The tensors to fill. Each keeps its dtype (floating-point numbers are cast to it) and device.</param>
    /// <exception cref="InvalidDataException">Tensors are missing, unexpected or of another shape. The message names them.</exception>
    public void ReadInto(IReadOnlyDictionary<string, Tensor> targets)
    {
        Require.Values(targets);
        var missing = targets.Keys.Where(name => !Contains(name)).ToArray();
        var unexpected = Entries.Select(entry => entry.Name).Where(name => !targets.ContainsKey(name)).ToArray();
        var misshapen = Entries.Where(entry => targets.TryGetValue(entry.Name, out var target) && !Fits(entry, target))
            .Select(entry => $"{entry} (expected {targets[entry.Name].dtype}[{string.Join(", ", targets[entry.Name].shape)}])").ToArray();
        if (missing.Length + unexpected.Length + misshapen.Length > 0)
            throw new InvalidDataException(
                $"{Path}: "
                + string.Join("; ", new[] { Listed("missing", missing), Listed("unexpected", unexpected),
                Listed("of another shape or type", misshapen) }.OfType<string>()));
        foreach (var (name, target) in targets) ReadInto(name, target);
    }

    static bool Fits(SafetensorsEntry entry, Tensor target) =>
        entry.Shape.SequenceEqual(target.shape) && (entry.Type == target.dtype || (IsFloat(entry.Type) && IsFloat(target.dtype)));

    static bool IsFloat(ScalarType type) => type is ScalarType.Float64 or ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;

    static string? Listed(string what, string[] names) => names.Length == 0 ? null
        : $"{names.Length} {(names.Length == 1 ? "tensor" : "tensors")} {what}: "
        + $"{string.Join(", ", names.Take(NamesShown))}{(names.Length > NamesShown ? ", ..." : "")}";

    void ReadData(SafetensorsEntry entry, Tensor target)
    {
        var pointer = (byte*)TensorMemory.Pointer(target);
        bool isBool = entry.Type == ScalarType.Bool;
        for (long done = 0; done < entry.ByteCount;)
        {
            var chunk = new Span<byte>(pointer + done, (int)Math.Min(ChunkBytes, entry.ByteCount - done));
            ReadFully(file, chunk, entry.Offset + done, Path);
            if (isBool && chunk.IndexOfAnyExcept((byte)0, (byte)1) is >= 0 and var at)
            {
                byte found = chunk[at];
                chunk.Clear();      // no value that is not a Boolean remains in the tensor
                throw new InvalidDataException(
                    $"{Path}: tensor '{entry.Name}' contains {found} at offset {entry.Offset + done + at}; expected a BOOL, which is 0 or 1");
            }
            done += chunk.Length;
        }
        GC.KeepAlive(target);
    }

    internal static void ReadFully(SafeFileHandle file, Span<byte> target, long offset, string path)
    {
        while (target.Length > 0)
        {
            int got = RandomAccess.Read(file, target, offset);
            if (got == 0) throw new InvalidDataException($"{path}: the file ends at offset {offset}, {target.Length} bytes early");
            target = target[got..];
            offset += got;
        }
    }

    /// <summary>Writes tensors to a file. The file is replaced atomically.</summary>
    /// <param name="path">The file. Its folder must exist.</param>
    /// <param name="tensors">The names and tensors, on any device. One tensor at a time is copied to main memory.</param>
    /// <param name="metadata">Texts for the header. The default, null, means none.</param>
    /// <exception cref="ArgumentException">A name occurs twice or is reserved, or the format does not support the dtype of a tensor.</exception>
    public static void Write(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        Require.NotEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        if (metadata is not null) Require.Values(metadata);
        var items = tensors.ToList();
        for (int i = 0; i < items.Count; i++)
        {
            Require.Present(items[i].Key, $"{nameof(tensors)}[{i}].Key", "a name");
            Require.Present(items[i].Value, $"{nameof(tensors)}[{i}].Value", "a tensor");
        }
        var layout = SafetensorsLayout.Create(items.Select(item => (item.Key, item.Value.dtype, item.Value.shape)), metadata);
        items.Sort((a, b) => layout[a.Key].Offset != layout[b.Key].Offset ? layout[a.Key].Offset.CompareTo(layout[b.Key].Offset)
            : layout[a.Key].Bytes.CompareTo(layout[b.Key].Bytes));
        AtomicWrite.File(path, temporary =>
        {
            using var output = File.OpenHandle(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None);
            RandomAccess.Write(output, layout.Header.Span, 0);
            foreach (var (name, tensor) in items)
            {
                WriteData(output, tensor, layout[name].Offset);
                StorageEvents.Log.Step(path, "tensor written");
            }
            RandomAccess.FlushToDisk(output);
        });
    }

    static void WriteData(SafeFileHandle output, Tensor tensor, long offset)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var plain = tensor.detach().cpu().contiguous();
        long bytes = plain.NumberOfElements * plain.ElementSize;
        if (bytes == 0) return;
        var pointer = (byte*)TensorMemory.Pointer(plain);
        for (long done = 0; done < bytes;)
        {
            int count = (int)Math.Min(ChunkBytes, bytes - done);
            RandomAccess.Write(output, new ReadOnlySpan<byte>(pointer + done, count), offset + done);
            done += count;
        }
        GC.KeepAlive(plain);
    }

    /// <summary>Closes the file. Tensors that were read from it remain valid.</summary>
    public void Dispose() => file.Dispose();
}
