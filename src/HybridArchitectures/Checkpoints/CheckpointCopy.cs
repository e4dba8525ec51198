using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Contains a copy in main memory of what <see cref="Checkpoint.Save"/> writes. It can be written while the model changes.
/// </summary>
sealed class CheckpointCopy : IDisposable
{
    readonly string design;
    readonly string? headDesign;
    readonly Dictionary<string, string> metadata;
    readonly Dictionary<string, Tensor> tensors, headTensors = [];

    /// <summary>Copies the state of a model, and of its head of multi-token prediction if there is one.</summary>
    public CheckpointCopy(HybridLanguageModel model, PredictionHead? head = null)
    {
        metadata = Checkpoint.Metadata(model);
        design = model.Design.ToJson();
        tensors = Copy(model.WholeState());
        if (head is null) return;
        headDesign = head.Design.ToJson();
        headTensors = Copy(head.State);
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

    /// <summary>Writes the files to an existing folder.</summary>
    public void Write(string folder)
    {
        AtomicWrite.Text(Path.Combine(folder, Checkpoint.DesignFile), design);
        SafetensorsFile.Write(Path.Combine(folder, Checkpoint.ModelFile), tensors, metadata);
        if (headDesign is null) return;
        AtomicWrite.Text(Path.Combine(folder, Checkpoint.PredictionHeadDesignFile), headDesign);
        SafetensorsFile.Write(Path.Combine(folder, Checkpoint.PredictionHeadFile), headTensors);
    }

    public void Dispose()
    {
        foreach (var tensor in tensors.Values.Concat(headTensors.Values)) tensor.Dispose();
    }
}
