using System.Buffers.Binary;
using HybridArchitectures.Kernels.Runtime;
using Microsoft.Win32.SafeHandles;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// A file of named tensors in the safetensors format: 8 bytes little-endian header length, a JSON header, the data
/// (<see href="https://huggingface.co/docs/safetensors"/>). Tensors are read from the file when asked for, straight into their memory; nothing in a
/// file is ever run.
/// One instance may be read from several threads.
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    const int ChunkBytes = 1 << 28;
    const int NamesShown = 10;      // in an error message

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

    /// <summary>The file's path.</summary>
    public string Path { get; }

    /// <summary>The tensors, in the order of their data.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries { get; }

    /// <summary>Free texts of the header (<c>__metadata__</c>).</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its header: types, sizes, and that the tensors fill the data without gap or overlap.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The path is no regular file, or the file is no safetensors file, truncated or inconsistent; the
    /// message names file, tensor and offset.</exception>
    public static SafetensorsFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
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

    /// <summary>Whether the file holds a tensor of this name.</summary>
    public bool Contains(string name) => byName.ContainsKey(name);

    /// <summary>The entry of a name.</summary>
    /// <exception cref="KeyNotFoundException">The file holds no such tensor.</exception>
    public SafetensorsEntry this[string name] => byName.TryGetValue(name, out var entry) ? entry : throw new KeyNotFoundException($"{Path}: no tensor '{name}'");

    /// <summary>Reads one tensor.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="type">The element type wanted; null for the stored one.</param>
    /// <param name="device">Where it shall live; null for main memory.</param>
    public Tensor Read(string name, ScalarType? type = null, Device? device = null)
    {
        var entry = this[name];
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var stored = empty(entry.Shape.ToArray(), entry.Type);
        ReadData(entry, stored);
        var result = stored.to(type ?? entry.Type, device ?? CPU);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>Reads one tensor into <paramref name="target"/>, which keeps its element type and device.</summary>
    /// <exception cref="ArgumentException"><paramref name="target"/> has another shape.</exception>
    public void ReadInto(string name, Tensor target)
    {
        ArgumentNullException.ThrowIfNull(target);
        var entry = this[name];
        if (!entry.Shape.SequenceEqual(target.shape))
            throw new ArgumentException(
                $"{Path}: tensor '{name}' is [{string.Join(", ", entry.Shape)}]; expected [{string.Join(", ", target.shape)}]", nameof(target));
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (entry.ByteCount > 0 && ParallelRead.Serves(entry.Type, target)) ParallelRead.Fill(file, entry.Offset, entry.Type, target, Path);
        else target.copy_(Read(name));
    }

    /// <summary>Fills tensors, one after another, with what a stored tensor holds in the order of its numbers; false, with nothing done, where that needs more than a plain reading.</summary>
    internal bool TryReadSpans(string name, IReadOnlyList<Tensor> targets)
    {
        var entry = this[name];
        if (entry.ByteCount == 0 || !targets.All(target => ParallelRead.Serves(entry.Type, target)) || targets.Sum(target => target.NumberOfElements) != entry.Shape.Aggregate(1L, (product, extent) => product * extent))
            return false;
        long offset = entry.Offset, size = entry.ByteCount / targets.Sum(target => target.NumberOfElements);
        foreach (var target in targets)
        {
            ParallelRead.Fill(file, offset, entry.Type, target, Path);
            offset += target.NumberOfElements * size;
        }
        return true;
    }

    /// <summary>Fills tensors by name: all of them must be in the file with their shapes, and nothing else. If not, none is changed.</summary>
    /// <param name="targets">The tensors to fill; each keeps its element type (floating-point numbers are cast to it) and device.</param>
    /// <exception cref="InvalidDataException">Tensors are missing, unexpected or of another shape; they are named.</exception>
    public void ReadInto(IReadOnlyDictionary<string, Tensor> targets)
    {
        ArgumentNullException.ThrowIfNull(targets);
        var missing = targets.Keys.Where(name => !Contains(name)).ToArray();
        var unexpected = Entries.Select(entry => entry.Name).Where(name => !targets.ContainsKey(name)).ToArray();
        var misshapen = Entries.Where(entry => targets.TryGetValue(entry.Name, out var target) && !Fits(entry, target))
            .Select(entry => $"{entry} (expected {targets[entry.Name].dtype}[{string.Join(", ", targets[entry.Name].shape)}])").ToArray();
        if (missing.Length + unexpected.Length + misshapen.Length > 0)
            throw new InvalidDataException(
                $"{Path}: "
                + string.Join("; ", new[] { Listed("missing", missing), Listed("unexpected", unexpected), Listed("of another shape or type", misshapen) }.OfType<string>()));
        foreach (var (name, target) in targets) ReadInto(name, target);
    }

    static bool Fits(SafetensorsEntry entry, Tensor target) =>
        entry.Shape.SequenceEqual(target.shape) && (entry.Type == target.dtype || (IsFloat(entry.Type) && IsFloat(target.dtype)));

    static bool IsFloat(ScalarType type) => type is ScalarType.Float64 or ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;

    static string? Listed(string what, string[] names) => names.Length == 0 ? null
        : $"{names.Length} {(names.Length == 1 ? "tensor" : "tensors")} {what}: {string.Join(", ", names.Take(NamesShown))}{(names.Length > NamesShown ? ", ..." : "")}";

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
                chunk.Clear();      // nothing that is no truth value stays in the tensor
                throw new InvalidDataException($"{Path}: tensor '{entry.Name}' holds {found} at offset {entry.Offset + done + at}; a BOOL is 0 or 1");
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

    /// <summary>Writes tensors to a file, replacing it in one move when it is complete.</summary>
    /// <param name="path">The file; its folder exists.</param>
    /// <param name="tensors">Names and tensors, on any device; one at a time is brought to main memory.</param>
    /// <param name="metadata">Free texts for the header.</param>
    /// <exception cref="ArgumentException">A name stands twice or is reserved, or a tensor has an element type the format lacks.</exception>
    public static void Write(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        var items = new List<(string Name, Tensor Value, string Type, int Size)>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, tensor) in tensors)
        {
            if (name == "__metadata__" || !names.Add(name))
                throw new ArgumentException($"tensor name '{name}' {(name == "__metadata__" ? "is reserved" : "stands twice")}", nameof(tensors));
            var (type, size) = SafetensorsTypes.FromScalarType(tensor.dtype)
                ?? throw new ArgumentException($"tensor '{name}' is {tensor.dtype}; the format has {SafetensorsTypes.Names}", nameof(tensors));
            items.Add((name, tensor, type, size));
        }
        // large elements first: every tensor then begins at a multiple of its element size
        items.Sort((a, b) => a.Size != b.Size ? b.Size.CompareTo(a.Size) : string.CompareOrdinal(a.Name, b.Name));
        var header = SafetensorsHeader.Format(items.ConvertAll(item => (item.Name, item.Type, item.Value.shape, item.Value.NumberOfElements * item.Size)), metadata);
        AtomicWrite.File(path, temporary =>
        {
            using var output = File.OpenHandle(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None);
            RandomAccess.Write(output, header, 0);
            long offset = header.Length;
            foreach (var (_, tensor, _, size) in items)
            {
                offset += WriteData(output, tensor, size, offset);
                AtomicWrite.Passing?.Invoke();
            }
            RandomAccess.FlushToDisk(output);
        });
    }

    static long WriteData(SafeFileHandle output, Tensor tensor, int size, long offset)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var plain = tensor.detach().cpu().contiguous();
        long bytes = plain.NumberOfElements * size;
        if (bytes == 0) return 0;
        var pointer = (byte*)TensorMemory.Pointer(plain);
        for (long done = 0; done < bytes;)
        {
            int count = (int)Math.Min(ChunkBytes, bytes - done);
            RandomAccess.Write(output, new ReadOnlySpan<byte>(pointer + done, count), offset + done);
            done += count;
        }
        GC.KeepAlive(plain);
        return bytes;
    }

    /// <summary>Closes the file; tensors read from it stay.</summary>
    public void Dispose() => file.Dispose();
}
