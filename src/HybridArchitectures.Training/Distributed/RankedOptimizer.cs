using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Optimization;
using OptimizerOptions = HybridArchitectures.Training.Optimization.OptimizerOptions;
using Parameter = TorchSharp.Modules.Parameter;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Represents the optimizer of a run: one for all parameters, or, if the state is divided over ranks, one for the shards of this rank.
/// </summary>
sealed class RankedOptimizer : IDisposable
{
    readonly RankGroup ranks;
    readonly OptimizerOptions options;
    readonly IReadOnlyList<ModelParameter> parameters;
    readonly ShardedParameters? sharded;
    readonly List<(Shard Shard, Parameter Value)> own = [];
    readonly Optimizer optimizer;

    /// <summary>Creates the optimizer.</summary>
    /// <param name="ranks">The ranks.</param>
    /// <param name="options">The kind of the optimizer.</param>
    /// <param name="parameters">The trainable parameters of the model.</param>
    /// <param name="sharded">The division of the parameters. Null if every rank has them.</param>
    public RankedOptimizer(RankGroup ranks, OptimizerOptions options, IReadOnlyList<ModelParameter> parameters, ShardedParameters? sharded)
    {
        (this.ranks, this.options, this.parameters, this.sharded) = (ranks, options, parameters, sharded);
        if (!ranks.IsSharded)
        {
            optimizer = options.Create(parameters);
            return;
        }
        int size = ranks.Sharding.Size;
        Shards = sharded?.Shards ?? Shard.Divide(parameters, size, options.IsIndivisible);
        var idle = Enumerable.Range(0, size).Except(Shards.Select(shard => shard.Owner)).ToArray();
        if (idle.Length > 0)
            throw new NotSupportedException($"the parameters cannot be divided over {size} ranks; expected at most {size - idle.Length}");
        using (no_grad())
            foreach (var shard in Shards)
                if (shard.Owner == ranks.Sharding.Rank) own.Add((shard, Represent(shard)));
        optimizer = options.Create(own.Select(item => new ModelParameter(item.Shard.Name, item.Value, item.Shard.Parameter.Decays)
        {
            Matrix = item.Shard.Parameter.Matrix,
        }));
        optimizer.Others = NormOfAll;
    }

    /// <summary>Gets the shards of all ranks. Empty if the state is not divided.</summary>
    public IReadOnlyList<Shard> Shards { get; } = [];

    /// <summary>Gets the shards of this rank with their values.</summary>
    public IReadOnlyList<(Shard Shard, Parameter Value)> OwnShards => own;

    /// <summary>Gets the optimizer of this rank.</summary>
    public Optimizer Own => optimizer;

    /// <summary>Gets the state that this rank has, by name.</summary>
    public IReadOnlyDictionary<string, Tensor> State => optimizer.State;

    /// <summary>Returns the prefixes of the names of the state of a parameter.</summary>
    public IReadOnlyList<string> StateOf(ModelParameter parameter) => options.StateOf(parameter);

    /// <summary>Returns the bytes of the complete state.</summary>
    public static long StateBytes(OptimizerOptions options, IEnumerable<ModelParameter> parameters) => sizeof(float)
        + parameters.Sum(item => options.StateOf(item).Count * item.Value.NumberOfElements * item.Value.ElementSize);

    Parameter Represent(Shard shard)
    {
        if (sharded is not null) return sharded.Represent(shard);
        if (shard.IsWhole) return shard.Parameter.Value;
        using var scope = NewDisposeScope();
        var part = new Parameter(shard.PartOf(shard.Parameter.Value.detach()));
        part.DetachFromDisposeScope();
        return part;
    }

    Tensor NormOfAll(Tensor mine)
    {
        using var scope = NewDisposeScope();
        var wide = mine.to(ScalarType.Float64);
        var squares = wide.mul(wide);
        ranks.Sharding.AllReduce(squares);
        return squares.sqrt().to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>Makes a step with the gradients of the parameters, and sends the new parameters to the ranks that have all of them.</summary>
    /// <inheritdoc cref="Optimizer.Step"/>
    public Tensor Step(double rate, double clip, Tensor watched)
    {
        if (!ranks.IsSharded) return optimizer.Step(rate, clip, watched);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        GiveGradients();
        var norm = optimizer.Step(rate, clip, watched);
        DropGradients();
        if (sharded is null)
            ranks.Collectives.Group(() =>
            {
                foreach (var shard in Shards) ranks.Collectives.Broadcast(shard.PartOf(shard.Parameter.Value.detach()), shard.Owner);
            });
        WeightWrites.Add();
        return norm.MoveToOuterDisposeScope();
    }

    void GiveGradients()
    {
        foreach (var (shard, value) in own)
        {
            if (sharded is not null) value.grad = sharded.GradientOf(shard);
            else if (!shard.IsWhole) value.grad = shard.Parameter.Value.grad is { } gradient ? shard.PartOf(gradient) : null;
        }
    }

    /// <inheritdoc cref="Optimizer.ReadGradientNorm"/>
    public double ReadGradientNorm()
    {
        if (!ranks.IsSharded) return optimizer.ReadGradientNorm();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        GiveGradients();
        return optimizer.ReadGradientNorm();
    }

    /// <inheritdoc cref="Optimizer.DropGradients"/>
    public void DropGradients()
    {
        optimizer.DropGradients();
        sharded?.DropGradients();
        if (!ranks.IsSharded) return;
        foreach (var parameter in parameters) parameter.Value.grad = null;
    }

    /// <inheritdoc cref="Optimizer.ReadFailed"/>
    public bool ReadFailed() => optimizer.ReadFailed();

    /// <inheritdoc cref="Optimizer.ReadSteps"/>
    public long ReadSteps() => optimizer.ReadSteps();

    /// <inheritdoc cref="Optimizer.ForgetFailure"/>
    public void ForgetFailure() => optimizer.ForgetFailure();

    /// <summary>Reads the state from a file that any number of ranks has written.</summary>
    /// <param name="file">The file.</param>
    /// <param name="others">Further tensors of the file, which are filled.</param>
    /// <exception cref="InvalidDataException">A tensor is missing, unexpected, or has another shape.</exception>
    public void Load(SafetensorsFile file, IReadOnlyDictionary<string, Tensor> others)
    {
        if (!ranks.IsSharded)
        {
            file.ReadInto(optimizer.State.Concat(others).ToDictionary(item => item.Key, item => item.Value));
            return;
        }
        RequireNames(file, others);
        foreach (var (name, target) in others) file.ReadInto(name, target);
        file.ReadInto(Optimizer.StepName, optimizer.State[Optimizer.StepName]);
        foreach (var (shard, value) in own)
            foreach (string prefix in options.StateOf(shard.Parameter))
            {
                using var scope = NewDisposeScope();
                var whole = file.Read(prefix + shard.Parameter.Name, value.dtype);
                if (!whole.shape.SequenceEqual(shard.Parameter.Value.shape))
                    throw new InvalidDataException($"{file.Path}: tensor '{prefix}{shard.Parameter.Name}' is [{string.Join(", ", whole.shape)}]; "
                        + $"expected [{string.Join(", ", shard.Parameter.Value.shape)}]");
                optimizer.State[prefix + shard.Name].copy_(shard.PartOf(whole));
            }
    }

    void RequireNames(SafetensorsFile file, IReadOnlyDictionary<string, Tensor> others)
    {
        var expected = parameters.SelectMany(item => options.StateOf(item).Select(prefix => prefix + item.Name)).Concat(others.Keys)
            .Append(Optimizer.StepName).ToHashSet(StringComparer.Ordinal);
        var found = file.Entries.Select(entry => entry.Name).ToHashSet(StringComparer.Ordinal);
        if (!expected.SetEquals(found))
            throw new InvalidDataException($"{file.Path}: {expected.Except(found).Count()} tensors missing, {found.Except(expected).Count()} "
                + "unexpected; expected the state of this optimizer");
    }

    public void Dispose()
    {
        optimizer.Dispose();
        foreach (var (shard, value) in own)
            if (sharded is not null || !shard.IsWhole) value.Dispose();
    }
}
