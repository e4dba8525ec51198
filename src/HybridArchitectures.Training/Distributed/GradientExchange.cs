using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Sums the gradients of a step over ranks that have the whole model. From the second step on, the sums of blocks start during the last backward
/// pass, as soon as the gradients of a bucket of blocks are complete. Buckets start in the same order on all ranks.
/// </summary>
sealed class GradientExchange : StepExchange
{
    readonly IReadOnlyList<ModelParameter> parameters;
    readonly ILookup<string, Shard> shards;
    readonly List<Bucket> buckets = [];
    bool[]? present;        // found in the first step
    bool isLastPass;
    int next;               // the first bucket whose sums have not been started

    // parameters by number, whose gradients are complete when the block, the lowest of the bucket, has been passed
    sealed class Bucket
    {
        public int Block { get; set; }

        public List<int> Parameters { get; } = [];

        public StartedOperations? Sums { get; set; }

        public List<Tensor> Gradients { get; } = [];
    }

    public GradientExchange(RankGroup ranks, HybridLanguageModel model, IReadOnlyList<ModelParameter> parameters, IReadOnlyList<Shard> shards)
        : base(ranks, model)
    {
        this.parameters = parameters;
        this.shards = shards.ToLookup(shard => shard.Parameter.Name, StringComparer.Ordinal);
        var byBlock = Enumerable.Range(0, parameters.Count).ToLookup(i => BlockOf(parameters[i]));
        long bytes = long.MaxValue;
        for (int block = model.Stack.Blocks.Count - 1; block >= -1; block--)
        {
            if (bytes >= ranks.BucketBytes || block < 0)
            {
                buckets.Add(new());
                bytes = 0;
            }
            buckets[^1].Block = block;
            buckets[^1].Parameters.AddRange(byBlock[block]);
            bytes += byBlock[block].Sum(i => parameters[i].Value.NumberOfElements * parameters[i].Value.ElementSize);
        }
    }

    /// <summary>Gets the number of sums that have started during backward passes.</summary>
    public long SumsInBackward { get; private set; }

    public override void BeginPass(bool isLast) => isLastPass = isLast;

    public override void EndPass() => isLastPass = false;

    protected override void BeforeForward(int block) { }

    protected override void AfterForward(int block) { }

    protected override void BeforeBackward(int block)
    {
        if (isLastPass) Ranks.Collectives.Advance();
    }

    protected override void AfterBackward(int block)
    {
        if (!isLastPass || present is null) return;
        while (buckets[next].Block >= block && buckets[next].Block >= 0)
        {
            Start(buckets[next++]);
            SumsInBackward++;
        }
        Ranks.Collectives.Advance();
    }

    void Start(Bucket bucket)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (int i in bucket.Parameters)
            if (Gradient(i) is { } gradient) bucket.Gradients.Add(gradient.DetachFromDisposeScope());
        bucket.Sums = Ranks.Collectives.Start(() =>
        {
            if (Ranks.IsSharded) ReduceToOwners(bucket);
            else Ranks.Collectives.AllReduce(bucket.Gradients);
        });
    }

    void ReduceToOwners(Bucket bucket)
    {
        foreach (int i in bucket.Parameters)
        {
            if (parameters[i].Value.grad is not { } gradient) continue;
            foreach (var shard in shards[parameters[i].Name]) Ranks.Collectives.Reduce(shard.PartOf(gradient), shard.Owner);
        }
    }

    // a parameter that has a gradient on any rank gets one on all
    Tensor? Gradient(int index)
    {
        var parameter = parameters[index];
        if (parameter.Value.grad is { } gradient)
        {
            if (!present![index])
                throw new NotSupportedException($"parameter '{parameter.Name}' has a gradient now, but had none in the first step; expected the "
                    + "same parameters in every step on several ranks.");
            if (!gradient.is_contiguous()) parameter.Value.grad = gradient = gradient.contiguous();
            return gradient;
        }
        if (!present![index]) return null;
        var zero = zeros_like(parameter.Value);
        parameter.Value.grad = zero;
        return zero;
    }

    protected override void CompleteGradients()
    {
        present ??= OnAnyRank(parameters.Select(parameter => parameter.Value.grad is not null));
        while (next < buckets.Count) Start(buckets[next++]);
        foreach (var bucket in buckets) bucket.Sums?.Wait();
        Forget();
    }

    protected override IEnumerable<Tensor> OwnGradients() => parameters.Select(parameter => parameter.Value.grad).OfType<Tensor>();

    public override void DropGradients() => Forget();

    void Forget()
    {
        foreach (var bucket in buckets)
        {
            foreach (var gradient in bucket.Gradients) gradient.Dispose();
            bucket.Gradients.Clear();
            bucket.Sums = null;
        }
        (next, isLastPass) = (0, false);
    }
}
