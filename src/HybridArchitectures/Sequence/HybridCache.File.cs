using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

public sealed partial class HybridCache
{
    const string FormatKey = "hybrid_cache", Format = "1", DesignKey = "design", StateTypeKey = "state_type", LengthsName = "lengths";
    const long MaxTokens = 1L << 40;

    /// <summary>Saves the cache as a safetensors file. The file appears only when it is complete. Weights are not saved.</summary>
    /// <param name="path">The path of the file, in an existing folder.</param>
    public void Save(string path)
    {
        RequireAlive();
        Require.NotEmpty(path);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var tensors = new Dictionary<string, Tensor> { [LengthsName] = tensor(lengths) };
        for (int block = 0; block < States.Count; block++)
            foreach (var (index, value) in (States[block]?.Save(lengths) ?? []).Index()) tensors[Name(block, index)] = value;
        var metadata = new Dictionary<string, string> { [FormatKey] = Format };
        if (StateType is { } stateType) metadata[StateTypeKey] = stateType.ToString();
        if (Mark(Design) is { } mark) metadata[DesignKey] = mark;
        SafetensorsFile.Write(path, tensors, metadata);
    }

    /// <summary>Reads a cache that <see cref="Save"/> wrote.</summary>
    /// <param name="path">The file.</param>
    /// <param name="create">
    /// Creates an empty cache for a number of rows and a type of recurrent states (null for the default), for the model of the saved cache.
    /// </param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no cache, damaged, or of another design; the message names the reason.</exception>
    internal static HybridCache Load(string path, Func<int, ScalarType?, HybridCache> create)
    {
        using var file = SafetensorsFile.Open(path);
        if (file.Metadata.GetValueOrDefault(FormatKey) != Format)
            throw new InvalidDataException(
                $"{path}: {FormatKey} is \"{file.Metadata.GetValueOrDefault(FormatKey)}\"; expected \"{Format}\", as "
                + $"{nameof(HybridCache)}.{nameof(Save)} writes it");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var lengths = ReadLengths(file);
        var byBlock = Group(file, lengths.Length);
        var stateType = ReadStateType(file);
        using (var example = CreateExample(file, create, stateType)) Check(file, example, byBlock, lengths.Length);
        var cache = create(Math.Max(1, lengths.Length), stateType);
        if (lengths.Length == 0)
        {
            var none = cache.Select();
            cache.Dispose();
            return none;
        }
        try
        {
            if (file.Metadata.GetValueOrDefault(DesignKey) is { } mark && Mark(cache.Design) is { } own && own != mark)
                throw new InvalidDataException($"{path}: the cache is of a model with another design");
            for (int block = 0; block < cache.States.Count; block++)
                if (cache.States[block] is { } state)
                    Restore(state, [.. byBlock[block].Select(entry => file.Read(entry.Name))], lengths, $"{path}: block {block + 1}");
            lengths.CopyTo(cache.lengths, 0);
            return cache;
        }
        catch
        {
            cache.Dispose();
            throw;
        }
    }

    static HybridCache CreateExample(SafetensorsFile file, Func<int, ScalarType?, HybridCache> create, ScalarType? stateType)
    {
        try
        {
            return create(1, stateType);
        }
        catch (ArgumentException error) when (stateType is not null)
        {
            throw new InvalidDataException($"{file.Path}: {Require.Text(error)}", error);
        }
    }

    static void Restore(MixerState state, Tensor[] saved, long[] lengths, string location)
    {
        try
        {
            state.Restore(saved, lengths);
            state.TakeOwnership();
        }
        catch (ArgumentException error)
        {
            throw new InvalidDataException($"{location}: {Require.Text(error)}", error);
        }
    }

    static ScalarType? ReadStateType(SafetensorsFile file) => file.Metadata.GetValueOrDefault(StateTypeKey) switch
    {
        null => null,
        nameof(ScalarType.Float32) => ScalarType.Float32,
        nameof(ScalarType.BFloat16) => ScalarType.BFloat16,
        nameof(ScalarType.Float64) => ScalarType.Float64,
        var other => throw new InvalidDataException($"{file.Path}: {StateTypeKey} is \"{other}\"; expected Float32, BFloat16 or Float64"),
    };

    static long[] ReadLengths(SafetensorsFile file)
    {
        if (!file.Contains(LengthsName) || file[LengthsName] is not { Type: ScalarType.Int64, Shape.Count: 1 })
            throw new InvalidDataException($"{file.Path}: no tensor '{LengthsName}' of Int64[rows]");
        var lengths = TensorMemory.ToArray<long>(file.Read(LengthsName));
        foreach (long length in lengths)
            if (length is < 0 or > MaxTokens)
                throw new InvalidDataException($"{file.Path}: '{LengthsName}' holds {length}; expected 0 to {MaxTokens}");
        return lengths;
    }

    static SortedDictionary<int, List<SafetensorsEntry>> Group(SafetensorsFile file, int rows)
    {
        var byBlock = new SortedDictionary<int, List<SafetensorsEntry>>();
        foreach (var entry in file.Entries.Where(entry => entry.Name != LengthsName))
        {
            var parts = entry.Name.Split('.');
            if (parts.Length != 3 || parts[0] != "blocks" || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int block)
                || !int.TryParse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture, out int index) || entry.Name != Name(block, index))
                throw new InvalidDataException($"{file.Path}: unexpected tensor '{entry.Name}'");
            if (entry.Shape.Count == 0 || entry.Shape[0] != rows)
                throw new InvalidDataException($"{file.Path}: {entry} is not of {rows} rows, as '{LengthsName}' says");
            if (!byBlock.TryGetValue(block, out var list)) byBlock[block] = list = [];
            list.Add(entry);
        }
        foreach (var (block, list) in byBlock)
        {
            list.Sort((a, b) => a.Name.Length != b.Name.Length ? a.Name.Length.CompareTo(b.Name.Length) : string.CompareOrdinal(a.Name, b.Name));
            for (int i = 0; i < list.Count; i++)
                if (list[i].Name != Name(block, i)) throw new InvalidDataException($"{file.Path}: no tensor '{Name(block, i)}'");
        }
        return byBlock;
    }

    // before memory is allocated for rows that the file declares: tensors that do not grow must be complete
    static void Check(SafetensorsFile file, HybridCache example, SortedDictionary<int, List<SafetensorsEntry>> byBlock, int rows)
    {
        foreach (int block in byBlock.Keys)
            if (block >= example.States.Count || example.States[block] is null)
                throw new InvalidDataException($"{file.Path}: unexpected tensor '{Name(block, 0)}': the model has no state there");
        for (int block = 0; block < example.States.Count; block++)
        {
            if (example.States[block] is not { } state) continue;
            int expected = state.Tensors.Count, found = byBlock.GetValueOrDefault(block)?.Count ?? 0;
            if (found != expected) throw new InvalidDataException($"{file.Path}: {found} tensors for block {block + 1}; expected {expected}");
            for (int i = 0; i < expected; i++)
            {
                var (entry, own) = (byBlock[block][i], state.Tensors[i]);
                if (entry.Type != own.dtype || entry.Shape.Count != own.dim()
                    || (rows > 0 && entry.ByteCount / rows < own.NumberOfElements * own.ElementSize))
                    throw new InvalidDataException(
                    $"{file.Path}: {entry} does not fit the model's {own.dtype}[rows, {string.Join(", ", own.shape.Skip(1))}]");
            }
        }
    }

    static string Name(int block, int index) => string.Create(CultureInfo.InvariantCulture, $"blocks.{block}.{index}");

    /// <summary>Returns a short hash of a design, or null if the design is unknown or cannot be written.</summary>
    static string? Mark(HybridDesign? design)
    {
        if (design is null) return null;
        try
        {
            return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(design.ToJson())));
        }
        catch (Exception error) when (error is ArgumentException or NotSupportedException)
        {
            return null;        // a mixer that is not registered for JSON
        }
    }
}
