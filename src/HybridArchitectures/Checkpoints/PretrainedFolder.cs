using System.Text.Json;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Provides the tensors of a Hugging Face folder: <c>model.safetensors</c>, or shards that <c>model.safetensors.index.json</c> names.
/// </summary>
sealed class PretrainedFolder : IDisposable
{
    public const string ConfigFile = "config.json", SingleFile = "model.safetensors", IndexFile = "model.safetensors.index.json";
    const int MaxShards = 4096;
    const long MaxIndexBytes = 256 << 20;

    readonly List<SafetensorsFile> files = [];
    readonly Dictionary<string, SafetensorsFile> byName = new(StringComparer.Ordinal);
    IReadOnlyCollection<string> indexed = [];

    /// <summary>Gets the name of every tensor and the file that contains it.</summary>
    public IReadOnlyDictionary<string, SafetensorsFile> Tensors => byName;

    /// <summary>Gets the names of all tensors, including those in files that are not opened.</summary>
    public IEnumerable<string> Names => byName.Keys.Union(indexed, StringComparer.Ordinal);

    /// <summary>Gets the total number of elements of all tensors.</summary>
    public long Elements => files.Sum(file => file.Entries.Sum(entry => entry.Shape.Aggregate(1L, (product, size) => product * size)));

    /// <summary>Opens the files and checks that they contain the tensors of the index.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="isIgnored">
    /// Returns whether a tensor is not needed. Its file may be absent. The default, null, means that all tensors are needed.
    /// </param>
    public static PretrainedFolder Open(string folder, Func<string, bool>? isIgnored = null)
    {
        var opened = new PretrainedFolder();
        isIgnored ??= _ => false;
        try
        {
            if (File.Exists(Path.Combine(folder, SingleFile))) opened.AddAll(SafetensorsFile.Open(Path.Combine(folder, SingleFile)), isIgnored);
            else if (File.Exists(Path.Combine(folder, IndexFile))) opened.AddShards(folder, isIgnored);
            else
                throw new FileNotFoundException($"'{folder}' contains neither {SingleFile} nor {IndexFile}"
                    + (File.Exists(Path.Combine(folder, "pytorch_model.bin"))
                    ? "; its pytorch_model.bin is a pickle, which is never read: convert it to safetensors" : ""));
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    void AddAll(SafetensorsFile file, Func<string, bool> isIgnored)
    {
        files.Add(file);
        foreach (var entry in file.Entries)
            if (!byName.TryAdd(entry.Name, file) && !isIgnored(entry.Name))
                throw new InvalidDataException($"{file.Path}: tensor '{entry.Name}' is also in {byName[entry.Name].Path}");
    }

    void AddShards(string folder, Func<string, bool> isIgnored)
    {
        string path = Path.Combine(folder, IndexFile);
        var shardOf = ReadIndex(path);
        indexed = shardOf.Keys;
        // a tensor that is not needed, such as one of multi-token prediction, must not make the folder invalid
        var needed = shardOf.Where(item => !isIgnored(item.Key)).ToArray();
        // if a file contains a head in addition to a tied embedding, they are compared
        bool IsThere(string shard) => IsPlainName(shard) && File.Exists(Path.Combine(folder, shard));
        var optional = shardOf.Where(item => item.Key == PretrainedFamily.Head && IsThere(item.Value));
        var shards = needed.Concat(optional).Select(item => item.Value).Distinct(StringComparer.Ordinal).ToArray();
        if (shardOf.Count == 0 || shards.Length > MaxShards)
            throw new InvalidDataException($"{path}: {shards.Length} shards; expected 1 to {MaxShards}");
        foreach (string shard in shards)
        {
            if (!IsPlainName(shard))
                throw new InvalidDataException($"{path}: shard '{shard}' is not the plain name of a .safetensors file in the same folder");
            string file = Path.Combine(folder, shard);
            if (!File.Exists(file)) throw new InvalidDataException($"{path}: the shard '{shard}' does not exist");
            AddAll(SafetensorsFile.Open(file), isIgnored);
        }
        foreach (var (name, shard) in needed)
            if (!byName.TryGetValue(name, out var file) || Path.GetFileName(file.Path) != shard)
                throw new InvalidDataException($"{path}: tensor '{name}' is not in '{shard}', which the index names");
    }

    static Dictionary<string, string> ReadIndex(string path)
    {
        var content = BoundedFile.Read(path, MaxIndexBytes);
        var shardOf = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var document = JsonDocument.Parse(content);
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("weight_map", out var map)
                || map.ValueKind != JsonValueKind.Object)
                throw new InvalidDataException($"{path}: no object 'weight_map'");
            foreach (var item in map.EnumerateObject())
            {
                if (item.Value.ValueKind != JsonValueKind.String)
                    throw new InvalidDataException($"{path}: the file of '{item.Name}' is {item.Value.ValueKind}; expected a file name");
                if (!shardOf.TryAdd(item.Name, item.Value.GetString()!))
                    throw new InvalidDataException($"{path}: '{item.Name}' occurs twice in weight_map");
            }
            return shardOf;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: not JSON ({error.Message})", error);
        }
    }

    static bool IsPlainName(string name) => name.EndsWith(".safetensors", StringComparison.Ordinal) && !name.StartsWith('.')
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in files) file.Dispose();
    }
}
