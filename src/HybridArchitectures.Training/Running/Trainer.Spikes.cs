using System.Globalization;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

public sealed partial class Trainer
{
    /// <summary>Returns whether the step whose gradients have been computed must be skipped.</summary>
    /// <exception cref="TrainingDivergedException">The step ends the run.</exception>
    bool IsSpike(SpikeGuard guard, Tensor loss, DataPosition position, List<TokenBatch> batches)
    {
        double value = loss.item<float>(), norm = optimizer.ReadGradientNorm();
        if (spikes.Judge(guard, value, norm) is not { } reason) return false;
        long step = Step + 1;
        var spike = new TrainingSpike(step, value, norm, position, reason, SaveBatch(step, reason, position, batches));
        if (callbacks.Length > 0) optimizer.Own.Collected.MoveToWeights();
        foreach (var callback in callbacks) callback.OnSpike(this, spike);
        bool tooMany = spikes.ConsecutiveSkips == guard.MaxConsecutiveSkips;
        if (guard.Action == SpikeAction.Skip && !tooMany)
        {
            spikes.Skipped++;
            spikes.ConsecutiveSkips++;
            return true;
        }
        var savedRows = spike.File is null ? "" : $"; the rows are in {spike.File}";
        var lastCheckpoint = checkpointStep >= 0 ? $"; the last checkpoint is {folder!.FolderOf(checkpointStep)}" : "";
        throw new TrainingDivergedException(
            $"step {step}: {reason}{(tooMany ? $", after {guard.MaxConsecutiveSkips} skipped steps in a row" : "")}; "
            + $"the {Options.BatchSize} rows begin at epoch {position.Epoch}, row {position.Index}. The parameters are those before the "
            + $"step{savedRows}{lastCheckpoint}.",
            step, position, reason);
    }

    string? SaveBatch(long step, string reason, DataPosition position, List<TokenBatch> batches)
    {
        if (folder is null) return null;
        var path = Path.Combine(folder.Path, string.Create(CultureInfo.InvariantCulture, $"spike-{step:d8}.safetensors"));
        ranks.OnFirst(() =>
        {
            if (ranks.IsAlone) WriteBatch(path, step, reason, position, batches);
            else WriteRows(path, step, reason, position);
        });
        return path;
    }

    // rank 0 has read only its rows of the step
    void WriteRows(string path, long step, string reason, DataPosition position)
    {
        var next = reader.Position;
        try
        {
            reader.Position = position;
            using var batch = reader.ReadBatch(Options.BatchSize);
            WriteBatch(path, step, reason, position, [batch]);
        }
        finally
        {
            reader.Position = next;
        }
    }

    static void WriteBatch(string path, long step, string reason, DataPosition position, List<TokenBatch> batches)
    {
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor> { ["ids"] = cat([.. batches.Select(batch => batch.Ids)]),
            ["targets"] = cat([.. batches.Select(batch => batch.Targets)]) };
        if (batches.All(batch => batch.Layout?.DocumentIds is not null))
            tensors["documents"] = cat([.. batches.Select(batch => batch.Layout!.DocumentIds!)]);
        if (batches.All(batch => batch.Weights is not null)) tensors["weights"] = cat([.. batches.Select(batch => batch.Weights!)]);
        SafetensorsFile.Write(path, tensors, new Dictionary<string, string>
        {
            ["step"] = step.ToString(CultureInfo.InvariantCulture), ["reason"] = reason,
            ["epoch"] = position.Epoch.ToString(CultureInfo.InvariantCulture), ["row"] = position.Index.ToString(CultureInfo.InvariantCulture),
        });
    }
}
