using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Against the reference: a loop over tokens of TorchSharp operators, which is what one would write by hand.</summary>
public class SelectiveScanBenchmark : OperatorBenchmark
{
    Tensor x = null!, timeStep = null!, gate = null!, a = null!, b = null!, c = null!, skip = null!;

    /// <summary>batch x length x channels; 16 states.</summary>
    [Params("8x256x256", "1x2048x1024")]
    public string Sizes { get; set; } = "";

    protected override void Prepare()
    {
        var sizes = Sizes.Split('x').Select(long.Parse).ToArray();
        (x, timeStep, gate) = (Leaf(sizes), Leaf(sizes), Leaf(sizes));
        (a, b, c, skip) = (Leaf(sizes[2], 16), Leaf(sizes[0], sizes[1], 16), Leaf(sizes[0], sizes[1], 16), Leaf(sizes[2]));
        using var noGrad = no_grad();
        a.abs_().neg_();
        timeStep.sub_(3);
    }

    protected override Tensor Ours() => SelectiveScan.Forward(x, timeStep, a, b, c, skip, gate, softplus: true).Output;

    protected override Tensor Composed()
    {
        SelectiveScan.Backend = KernelBackend.Reference;
        try
        {
            return Ours();
        }
        finally
        {
            SelectiveScan.Backend = KernelBackend.Auto;
        }
    }
}
