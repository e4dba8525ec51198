using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;
using OptimizerOptions = HybridArchitectures.Training.Optimization.OptimizerOptions;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Divides the trainable parameters of a model over ranks, and gathers those of one block after another.
/// <para>
/// 1. Before the forward pass of a block, its parameters are gathered, and the gather of the next block starts. After the pass, they are released,
/// except those of the last block.
/// 2. Before the backward pass of a block, its parameters are gathered again, and the gather of the block before starts. After the pass, the sum of
/// its gradients over the ranks starts, which leaves each rank its share, and the parameters are released.
/// 3. Parameters outside of blocks, such as the embedding, are gathered for a whole step, and their gradients are summed at its end.
/// </para>
/// All ranks make the same passes in the same order; one without rows makes a pass without computation.
/// </summary>
sealed class ShardedParameters : StepExchange, IDisposable
{
    readonly ShardedUnit[] blocks;
    readonly ShardedUnit rest;
    readonly bool[] reduced;
    readonly Dictionary<string, ShardedUnit> unitOf = new(StringComparer.Ordinal);
    readonly List<StartedOperations> sums = [];        // over the machines
    Dictionary<string, bool>? present;
    bool isPassing, hasBackward, isLastPass;
    int gathered;           // requests that the parameters stay gathered

    /// <summary>Divides the parameters, which all ranks have. Their memory is released.</summary>
    public ShardedParameters(RankGroup ranks, HybridLanguageModel model, IReadOnlyList<ModelParameter> parameters, OptimizerOptions options)
        : base(ranks, model)
    {
        TensorStorage.RequireSupport(model.Device);
        RequireContiguous(parameters);
        var owners = Shard.Assign(parameters.Where(options.IsIndivisible), new long[ranks.Sharding.Size])
            .ToDictionary(shard => shard.Parameter.Name, shard => shard.Owner, StringComparer.Ordinal);
        var byBlock = parameters.ToLookup(BlockOf);
        ShardedUnit Divide(int block)
        {
            var unit = new ShardedUnit(ranks.Sharding, [.. byBlock[block]], owners);
            foreach (var parameter in byBlock[block]) unitOf.Add(parameter.Name, unit);
            unit.Release();
            return unit;
        }
        blocks = [.. Enumerable.Range(0, model.Stack.Blocks.Count).Select(Divide)];
        rest = Divide(-1);
        reduced = new bool[blocks.Length];
    }

    static void RequireContiguous(IReadOnlyList<ModelParameter> parameters)
    {
        foreach (var (name, value, _) in parameters)
        {
            if (!value.is_contiguous()) throw Require.Unfit("model", $"parameter '{name}' is not contiguous", "a contiguous tensor");
            if (value.dtype != parameters[0].Value.dtype)
                throw Require.Unfit("model", $"parameter '{name}' is {value.dtype}", $"{parameters[0].Value.dtype}, the type of the first parameter");
        }
    }

    IEnumerable<ShardedUnit> Units => blocks.Append(rest);

    /// <summary>Gets the shards of all ranks that divide the parameters.</summary>
    public IReadOnlyList<Shard> Shards => [.. Units.SelectMany(unit => unit.Shards())];

    /// <summary>Gets the number of elements that this rank keeps of all parameters.</summary>
    public long OwnElements => Units.Sum(unit => unit.OwnElements);

    /// <inheritdoc cref="ShardedUnit.Represent"/>
    public Parameter Represent(Shard shard) => unitOf[shard.Parameter.Name].Represent(shard);

    /// <summary>Returns the gradient of a shard of this rank, or null if no rank had one in the first step.</summary>
    public Tensor? GradientOf(Shard shard) =>
        present is null || present[shard.Parameter.Name] ? unitOf[shard.Parameter.Name].GradientOf(shard) : null;

    public override bool PassesTogether => true;

    public override void BeginPass(bool isLast) => Begin(is_grad_enabled(), isLast);

    void Begin(bool backward, bool isLast)
    {
        if (gathered > 0) return;
        (isPassing, hasBackward, isLastPass) = (true, backward, isLast);
        Array.Clear(reduced);
        rest.Gather();
        if (blocks.Length > 0) blocks[0].StartGather();
    }

    protected override void BeforeForward(int block)
    {
        if (gathered > 0) return;
        if (!isPassing)
            throw new InvalidOperationException("the parameters of the model are divided over ranks; expected a pass of the trainer, or one inside "
                + "Trainer.GatherParameters");
        blocks[block].Gather();
        if (block + 1 < blocks.Length) blocks[block + 1].StartGather();
        Advance();
    }

    void Advance()
    {
        Ranks.Sharding.Advance();
        Ranks.Replicas?.Advance();
    }

    protected override void AfterForward(int block)
    {
        if (gathered == 0 && !(hasBackward && block == blocks.Length - 1)) blocks[block].Release();
    }

    protected override void BeforeBackward(int block)
    {
        if (gathered > 0) return;
        blocks[block].Gather();
        if (block > 0) blocks[block - 1].StartGather();
        Advance();
    }

    protected override void AfterBackward(int block)
    {
        if (gathered > 0) return;
        // at most the gradients of two blocks are complete at a time
        if (block + 1 < blocks.Length) FinishReduce(block + 1);
        blocks[block].StartReduce();
        blocks[block].Release();
        reduced[block] = true;
    }

    public override void EndPass()
    {
        if (!isPassing) return;
        if (hasBackward)
        {
            // a block whose input needs no gradient, such as the first one after a frozen embedding, is not told of the end of its backward pass
            for (int block = blocks.Length - 1; block >= 0; block--)
                if (!reduced[block]) AfterBackward(block);
            if (blocks.Length > 0) FinishReduce(0);
        }
        isPassing = false;
    }

    void FinishReduce(int block)
    {
        blocks[block].FinishReduce();
        if (isLastPass) SumOverMachines(blocks[block]);
    }

    void SumOverMachines(ShardedUnit unit)
    {
        if (Ranks.Replicas is { } replicas && unit.OwnGradient is { } gradient) sums.Add(replicas.Start(() => replicas.AllReduce(gradient)));
    }

    public override void IdlePass(bool hasBackward, bool isLast)
    {
        Begin(hasBackward, isLast);
        for (int block = 0; block < blocks.Length; block++)
        {
            BeforeForward(block);
            AfterForward(block);
        }
        for (int block = blocks.Length - 1; hasBackward && block >= 0; block--)
        {
            BeforeBackward(block);
            AfterBackward(block);
        }
        EndPass();
    }

    public override void EndEvaluation()
    {
        if (gathered == 0) rest.Release();
    }

    protected override void CompleteGradients()
    {
        rest.StartReduce();
        rest.FinishReduce();
        rest.Release();
        SumOverMachines(rest);
        foreach (var sum in sums) sum.Wait();
        sums.Clear();
        RequirePresent();
    }

    void RequirePresent()
    {
        var had = Units.SelectMany(unit => unit.Parameters).Zip(Units.SelectMany(unit => unit.HadGradients)).ToArray();
        present ??= had.Zip(OnAnyRank(had.Select(item => item.Second)))
            .ToDictionary(item => item.First.First.Name, item => item.Second, StringComparer.Ordinal);
        if (had.FirstOrDefault(item => item.Second && !present[item.First.Name]).First is { } parameter)
            throw new NotSupportedException($"parameter '{parameter.Name}' has a gradient now, but had none in the first step; expected the same "
                + "parameters in every step on several ranks.");
    }

    protected override IEnumerable<Tensor> OwnGradients() => Units.Select(unit => unit.OwnGradient).OfType<Tensor>();

    public override void DropGradients()
    {
        foreach (var unit in Units) unit.DropGradients();
        sums.Clear();
    }

    /// <summary>
    /// Gathers all parameters until the result is disposed. All ranks call both. Changes of the parameters, the same on all ranks, are kept.
    /// </summary>
    public IDisposable Gather()
    {
        if (gathered++ == 0)
            foreach (var unit in Units) unit.Gather();
        return new Gathered(this);
    }

    void Scatter()
    {
        if (--gathered > 0) return;
        foreach (var unit in Units)
        {
            unit.Keep();
            unit.Release();
        }
    }

    sealed class Gathered(ShardedParameters owner) : IDisposable
    {
        ShardedParameters? owner = owner;

        public void Dispose()
        {
            owner?.Scatter();
            owner = null;
        }
    }

    public void Dispose()
    {
        foreach (var unit in Units) unit.Dispose();
    }
}
