using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains a copy in main memory of everything that a checkpoint of a run contains, so that it is written while the run goes on.</summary>
sealed class RunCopy : IDisposable
{
    readonly CheckpointCopy model;
    readonly Dictionary<string, Tensor> optimizer;
    readonly TrainingState state;

    /// <summary>Copies the state of a run.</summary>
    /// <param name="model">The model.</param>
    /// <param name="head">The head of multi-token prediction that is trained with it, or null.</param>
    /// <param name="optimizer">The tensors of the optimizer's file.</param>
    /// <param name="state">The rest, without the marks of the files.</param>
    public RunCopy(HybridLanguageModel model, PredictionHead? head, IEnumerable<KeyValuePair<string, Tensor>> optimizer, TrainingState state)
    {
        this.model = new CheckpointCopy(model, head);
        this.optimizer = CheckpointCopy.Copy(optimizer);
        this.state = state with { History = [.. state.History], Evaluations = [.. state.Evaluations] };
    }

    /// <summary>Writes all files to an existing folder.</summary>
    public void Write(string folder)
    {
        model.Write(folder);
        SafetensorsFile.Write(Path.Combine(folder, Trainer.OptimizerFile), optimizer);
        (state with { Files = Trainer.Marks(folder) }).Write(folder);
    }

    public void Dispose()
    {
        model.Dispose();
        foreach (var tensor in optimizer.Values) tensor.Dispose();
    }
}
