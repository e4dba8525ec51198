using System.Text.Json;

namespace HybridArchitectures.Checkpoints;

/// <summary>The tensors of a Hugging Face folder: <c>model.safetensors</c>, or shards named by <c>model.safetensors.index.json</c>.</summary>
sealed class PretrainedFolder : IDisposable
{
    public const string ConfigFile = "config.json", SingleFile = "model.safetensors", IndexFile = "model.safetensors.index.json";
    const int MostShards = 4096;
    const long LargestIndex = 256 << 20;

    readonly List<SafetensorsFile> files = [];
    readonly Dictionary<string, SafetensorsFile> byName = new(StringComparer.Ordinal);

    /// <summary>Every tensor's name and the file it is in.</summary>
    public IReadOnlyDictionary<string, SafetensorsFile> Tensors => byName;

    /// <summary>Numbers in all tensors together.</summary>
    public long Elements => files.Sum(file => file.Entries.Sum(entry => entry.Shape.Aggregate(1L, (product, size) => product * size)));

    /// <summary>Opens the files and checks that they hold what the index says.</summary>
    public static PretrainedFolder Open(string folder)
    {
        var opened = new PretrainedFolder();
        try
        {
            if (File.Exists(Path.Combine(folder, SingleFile))) opened.AddAll(SafetensorsFile.Open(Path.Combine(folder, SingleFile)));
            else if (File.Exists(Path.Combine(folder, IndexFile))) opened.AddShards(folder);
            else
                throw new FileNotFoundException($"'{folder}' holds neither {SingleFile} nor {IndexFile}"
                    + (File.Exists(Path.Combine(folder, "pytorch_model.bin")) ? "; its pytorch_model.bin is a pickle, which is never read: convert it to safetensors" : ""));
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    void AddAll(SafetensorsFile file)
    {
        files.Add(file);
        foreach (var entry in file.Entries)
            if (!byName.TryAdd(entry.Name, file)) throw new InvalidDataException($"{file.Path}: tensor '{entry.Name}' is also in {byName[entry.Name].Path}");
    }

    void AddShards(string folder)
    {
        string path = Path.Combine(folder, IndexFile);
        if (new FileInfo(path).Length > LargestIndex) throw new InvalidDataException($"{path}: more than {LargestIndex} bytes for an index");
        var places = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
                throw new InvalidDataException($"{path}: no object 'weight_map'");
            foreach (var item in map.EnumerateObject())
            {
                if (item.Value.ValueKind != JsonValueKind.String) throw new InvalidDataException($"{path}: the place of '{item.Name}' is {item.Value.ValueKind}; expected a file name");
                if (!places.TryAdd(item.Name, item.Value.GetString()!)) throw new InvalidDataException($"{path}: '{item.Name}' stands twice in weight_map");
            }
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: not JSON ({error.Message})", error);
        }
        var shards = places.Values.Distinct(StringComparer.Ordinal).ToArray();
        if (shards.Length is 0 or > MostShards) throw new InvalidDataException($"{path}: {shards.Length} shards; expected 1 to {MostShards}");
        foreach (string shard in shards)
        {
            if (!IsPlainName(shard)) throw new InvalidDataException($"{path}: shard '{shard}' is not the plain name of a .safetensors file beside the index");
            string file = Path.Combine(folder, shard);
            if (!File.Exists(file)) throw new InvalidDataException($"{path}: the shard '{shard}' it names is not there");
            AddAll(SafetensorsFile.Open(file));
        }
        foreach (var (name, shard) in places)
            if (!byName.TryGetValue(name, out var file) || Path.GetFileName(file.Path) != shard)
                throw new InvalidDataException($"{path}: tensor '{name}' is said to be in '{shard}', which does not hold it");
    }

    static bool IsPlainName(string name) => name.EndsWith(".safetensors", StringComparison.Ordinal) && !name.StartsWith('.')
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in files) file.Dispose();
    }
}
