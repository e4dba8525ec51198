using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Collects the statistics of the attention layers in one pass.</summary>
sealed class AttentionProbe(HybridLanguageModel model) : IPassProbe
{
    const double Ridge = 1e-3;

    readonly List<LayerAttention> layers = [];
    double[]? distances;
    bool isInside;

    public IReadOnlyList<LayerAttention> Layers => layers;

    /// <summary>Creates the context of the pass.</summary>
    public SequenceContext CreateContext() => new SequenceContext { Probe = this, AroundMixer = Around };

    Tensor Around(SequenceContext context, Tensor x, Func<Tensor, Tensor> mix)
    {
        if (model.Stack.Blocks[context.Block].Mixer is not Attention attention) return mix(x);
        isInside = true;
        var attended = attention.Attend(x, context, null);
        isInside = false;
        layers.Add(new(context.Block + 1, new(distances!), new(RootMeanSquares(attended)), new(Constant(x))));
        return attention.Project(attended);
    }

    // of the attention of a mixer, not of a transformer that blocks share
    public void OnAttention(SequenceContext context, AttentionSpec spec, Tensor query, Tensor key, AttentionPositions? positions)
    {
        if (isInside) distances = MeanDistances(spec, query, key);
    }

    public void OnDecay(SequenceContext context, Tensor steps, Tensor rates)
    {
    }

    public void OnBranches(SequenceContext context, Tensor stateSpace, Tensor attention, Tensor fusedStateSpace, Tensor fusedAttention)
    {
    }

    static double[] MeanDistances(AttentionSpec spec, Tensor query, Tensor key)
    {
        using var scope = NewDisposeScope();
        long batch = query.size(0), length = query.size(1), group = spec.Heads / spec.KeyValueHeads;
        var visible = AttentionReference.Visible(length, length, spec.Window, spec.Sinks, null, query.device);
        var positions = Indices.Range(0, length, query.device).to(ScalarType.Float32);
        var distance = positions.unsqueeze(1) - positions.unsqueeze(0);
        var scale = Scalars.From(spec.Scale ?? 1 / Math.Sqrt(spec.HeadSize));
        var means = new double[spec.Heads];
        for (int row = 0; row < batch; row++)
            for (int head = 0; head < spec.Heads; head++)
            {
                using var inner = NewDisposeScope();
                var q = query[row].select(1, head).to(ScalarType.Float32);
                var k = key[row].select(1, head / group).to(ScalarType.Float32);
                var scores = q.mm(k.t()).mul_(scale).masked_fill_(visible[0].logical_not(), Scalars.MinusInfinity);
                means[head] += scores.softmax(-1).mul_(distance).sum(-1).mean().item<float>() / batch;
            }
        return means;
    }

    static double[] RootMeanSquares(Tensor attended)
    {
        using var scope = NewDisposeScope();
        var flat = attended.flatten(0, 1).to(ScalarType.Float64);
        return TensorMemory.ToArray<double>((flat * flat).mean([0]).sqrt().cpu().contiguous());
    }

    static double[] Constant(Tensor x)
    {
        using var scope = NewDisposeScope();
        var flat = x.flatten(0, 1).to(ScalarType.Float64).cpu();
        var second = flat.t().mm(flat).div(Scalars.From(flat.size(0)));
        var ridge = second.diagonal().mean().mul(Scalars.From(Ridge));
        var system = second.add(eye(flat.size(1), dtype: ScalarType.Float64).mul(ridge), Scalars.One);
        return TensorMemory.ToArray<double>(linalg.solve(system, flat.mean([0]).unsqueeze(1)).flatten().contiguous());
    }
}
