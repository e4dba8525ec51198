using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Measures one operator, forward only and forward with backward, and the same function composed of TorchSharp operators.</summary>
[GroupBenchmarksBy(BenchmarkDotNet.Configs.BenchmarkLogicalGroupRule.ByCategory), CategoriesColumn]
public abstract class OperatorBenchmark
{
    readonly List<Tensor> leaves = [];
    Tensor direction = null!;

    [Params(ScalarType.Float32)]
    public ScalarType Type { get; set; }

    /// <summary>A random tensor that gradients are taken of.</summary>
    protected Tensor Leaf(params long[] size)
    {
        using var scope = NewDisposeScope();
        var leaf = randn(size).mul(Scalars.From(0.5)).to(Type).requires_grad_().DetachFromDisposeScope();
        leaves.Add(leaf);
        return leaf;
    }

    protected abstract void Prepare();

    protected abstract Tensor Ours();

    protected abstract Tensor Composed();

    [GlobalSetup]
    public void Setup()
    {
        manual_seed(0);
        Prepare();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        direction = randn_like(Ours()).DetachFromDisposeScope();
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (var leaf in leaves) leaf.Dispose();
        leaves.Clear();
        direction.Dispose();
    }

    [Benchmark(Baseline = true), BenchmarkCategory("forward")]
    public void Composed_forward() => Forward(Composed);

    [Benchmark, BenchmarkCategory("forward")]
    public void Ours_forward() => Forward(Ours);

    [Benchmark(Baseline = true), BenchmarkCategory("both")]
    public void Composed_both() => Both(Composed);

    [Benchmark, BenchmarkCategory("both")]
    public void Ours_both() => Both(Ours);

    static void Forward(Func<Tensor> op)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        op();
    }

    void Both(Func<Tensor> op)
    {
        using var scope = NewDisposeScope();
        Autograd.Backward(op(), direction);
        foreach (var leaf in leaves) leaf.grad = null;
    }
}
