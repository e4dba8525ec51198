using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Contains a copy in main memory of what <see cref="Checkpoint.Write(HybridLanguageModel, string)"/> writes. It can be written while the model
/// changes.
/// </summary>
sealed class CheckpointCopy : IDisposable
{
    readonly string design;
    readonly Dictionary<string, string> metadata;
    readonly Dictionary<string, Tensor> tensors;

    /// <summary>Copies the state of a model.</summary>
    public CheckpointCopy(HybridLanguageModel model)
    {
        metadata = Checkpoint.Metadata(model);
        design = model.Design.ToJson();
        tensors = Copy(model.WholeState());
    }

    /// <summary>Copies tensors to main memory. The caller disposes them.</summary>
    public static Dictionary<string, Tensor> Copy(IEnumerable<KeyValuePair<string, Tensor>> tensors)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        // cpu() returns a tensor in main memory itself
        return tensors.ToDictionary(item => item.Key, item =>
            (item.Value.device_type == TorchSharp.DeviceType.CPU ? item.Value.detach().clone() : item.Value.detach().cpu()).DetachFromDisposeScope());
    }

    /// <summary>Writes the two files of the model to an existing folder.</summary>
    public void Write(string folder)
    {
        AtomicWrite.Text(Path.Combine(folder, Checkpoint.DesignFile), design);
        SafetensorsFile.Write(Path.Combine(folder, Checkpoint.ModelFile), tensors, metadata);
    }

    public void Dispose()
    {
        foreach (var tensor in tensors.Values) tensor.Dispose();
    }
}
