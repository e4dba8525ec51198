using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Optimization;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Writes a checkpoint of a run on several ranks.
/// <para>
/// 1. Rank 0 creates the files in a temporary folder, with the headers and the final lengths.
/// 2. Every rank writes its parts of the tensors to their places, flushes them, and computes their checksums.
/// 3. Rank 0 combines the checksums, writes the state of the run, and moves the folder to its name.
/// </para>
/// The files are those of a run on one rank. A rank that dies leaves a temporary folder, which the next run deletes.
/// </summary>
/// <param name="ranks">The ranks.</param>
/// <param name="model">The model, whose parameters may be divided.</param>
/// <param name="optimizer">The optimizer.</param>
/// <param name="others">Further tensors for the file of the optimizer, which rank 0 writes.</param>
sealed unsafe class SharedCheckpoint(
    RankGroup ranks, HybridLanguageModel model, RankedOptimizer optimizer, IReadOnlyDictionary<string, Tensor> others)
{
    const int ChunkBytes = 1 << 26;

    readonly IReadOnlyList<ModelParameter> parameters = model.Parameters;

    sealed record Part(string Name, long First, Tensor Value);

    /// <summary>Writes the checkpoint. All ranks call it.</summary>
    /// <param name="target">The folder.</param>
    /// <param name="state">Returns the state of the run on rank 0 from the marks of the files.</param>
    public void Write(string target, Func<Dictionary<string, FileMark>, TrainingState> state)
    {
        if (ranks.IsFirst)
        {
            Lead(target, state);
            return;
        }
        ranks.Settle(null);                             // the files exist
        WriteParts(ranks.TextFrom(0, ""));
        ranks.Settle(null);                             // the folder has its name
    }

    void Lead(string target, Func<Dictionary<string, FileMark>, TrainingState> state)
    {
        bool created = false, written = false;
        try
        {
            AtomicWrite.Folder(target, fresh =>
            {
                Create(fresh);
                created = true;
                ranks.Settle(null);
                ranks.TextFrom(0, fresh);
                var parts = WriteParts(fresh);
                written = true;
                var marks = parts.ToDictionary(item => item.Key, item => FileMark.Combine(item.Value));
                marks.Add(Checkpoint.DesignFile, FileMark.FromFile(Path.Combine(fresh, Checkpoint.DesignFile)));
                state(marks).Write(fresh);
            }, Trainer.CheckpointFiles);
        }
        catch (Exception e)
        {
            // between the two, the ranks have agreed on the failure already
            if (!created || written) ranks.Settle(e);
            throw;
        }
        ranks.Settle(null);
    }

    void Create(string folder)
    {
        AtomicWrite.Text(Path.Combine(folder, Checkpoint.DesignFile), model.Design.ToJson());
        foreach (var (file, layout) in Layouts())
        {
            using var handle = File.OpenHandle(Path.Combine(folder, file), FileMode.CreateNew, FileAccess.Write, FileShare.None);
            RandomAccess.Write(handle, layout.Header.Span, 0);
            RandomAccess.SetLength(handle, layout.Length);
            RandomAccess.FlushToDisk(handle);
        }
    }

    Dictionary<string, SafetensorsLayout> Layouts()
    {
        var inFloat32 = model.AllParameters().Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        var weights = model.WholeState().Select(item =>
            (item.Key, inFloat32.Contains(item.Key) ? ScalarType.Float32 : item.Value.dtype, item.Value.shape));
        var state = parameters.SelectMany(item => optimizer.StateOf(item).Select(prefix => (prefix + item.Name, item.Value.dtype, item.Value.shape)));
        return new()
        {
            [Checkpoint.ModelFile] = SafetensorsLayout.Create(weights, Checkpoint.Metadata(model)),
            [Trainer.OptimizerFile] = SafetensorsLayout.Create(
                state.Concat(Others().Select(item => (item.Key, item.Value.dtype, item.Value.shape)))),
        };
    }

    IEnumerable<KeyValuePair<string, Tensor>> Others() => others.Append(new(Optimizer.StepName, optimizer.State[Optimizer.StepName]));

    // the shards that this rank writes, with the values of the parameter and of a state of the optimizer
    IEnumerable<(Shard Shard, Tensor Value, Func<string, Tensor> State)> Own()
    {
        if (ranks.Replicas is { Rank: > 0 }) yield break;
        if (ranks.IsSharded)
        {
            foreach (var (shard, value) in optimizer.OwnShards)
                yield return (shard, value.detach(), prefix => optimizer.State[prefix + shard.Name]);
            yield break;
        }
        foreach (var shard in Shard.Divide(parameters, ranks.Size, _ => false).Where(shard => shard.Owner == ranks.Rank))
            yield return (shard, shard.PartOf(shard.Parameter.Value.detach()),
                prefix => shard.PartOf(optimizer.State[prefix + shard.Parameter.Name]));
    }

    IEnumerable<Part> OwnWeights()
    {
        foreach (var (shard, value, _) in Own()) yield return new(shard.Parameter.Name, shard.First, value.to(ScalarType.Float32));
        if (!ranks.IsFirst) yield break;
        var divided = parameters.Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        var inFloat32 = model.AllParameters().Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var (name, value) in model.WholeState())
            if (!divided.Contains(name)) yield return new(name, 0, inFloat32.Contains(name) ? value.detach().to(ScalarType.Float32) : value);
    }

    IEnumerable<Part> OwnState()
    {
        foreach (var (shard, _, state) in Own())
            foreach (string prefix in optimizer.StateOf(shard.Parameter))
                yield return new(prefix + shard.Parameter.Name, shard.First, state(prefix));
        if (!ranks.IsFirst) yield break;
        foreach (var (name, value) in Others()) yield return new(name, 0, value);
    }

    // returns the parts of all ranks by file
    Dictionary<string, List<(long Offset, long Bytes, uint Crc)>> WriteParts(string folder)
    {
        Exception? failure = null;
        var own = new Dictionary<string, List<(long Offset, long Bytes, uint Crc)>>();
        var layouts = Layouts();
        try
        {
            if (!Directory.Exists(folder))
                throw new IOException($"rank {ranks.Rank} does not see the folder '{folder}' of rank 0; expected a file system that all ranks share");
            foreach (var (file, layout) in layouts)
                own.Add(file, WriteParts(Path.Combine(folder, file), layout, file == Checkpoint.ModelFile ? OwnWeights() : OwnState()));
        }
        catch (Exception e)
        {
            failure = e;
        }
        ranks.Settle(failure);
        if (failure is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        return layouts.Keys.ToDictionary(file => file, file => ranks.Collect(own[file]));
    }

    List<(long Offset, long Bytes, uint Crc)> WriteParts(string path, SafetensorsLayout layout, IEnumerable<Part> parts)
    {
        var written = new List<(long Offset, long Bytes, uint Crc)>();
        if (ranks.IsFirst) written.Add((0, layout.Header.Length, FileMark.Checksum(layout.Header.Span)));
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        foreach (var part in parts)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var plain = part.Value.cpu().contiguous().view(-1);
            long offset = layout[part.Name].Offset + part.First * plain.ElementSize, size = plain.ElementSize;
            for (long done = 0; done < plain.NumberOfElements;)
            {
                long count = Math.Min(ChunkBytes / size, plain.NumberOfElements - done);
                var bytes = new ReadOnlySpan<byte>((byte*)TensorMemory.Pointer(plain) + done * size, (int)(count * size));
                RandomAccess.Write(file, bytes, offset + done * size);
                written.Add((offset + done * size, bytes.Length, FileMark.Checksum(bytes)));
                done += count;
            }
            GC.KeepAlive(plain);
            StorageEvents.Log.Step(path, "part of a tensor written");
        }
        RandomAccess.FlushToDisk(file);
        return written;
    }
}
