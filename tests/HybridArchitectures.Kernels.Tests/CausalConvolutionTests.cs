using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public class CausalConvolutionTests : SequenceOperatorTests
{
    // channels, width; the second wide enough to be cut along channels
    static readonly (long C, long W)[] Sizes = [(12, 4), (1030, 4), (5, 2), (8, 3), (1, 4), (17, 7), (16, 1)];

    protected override int Variants => Sizes.Length;

    protected override IReadOnlyList<string> Timed => ["x"];

    protected override IReadOnlyList<string> Activations => ["x", "initialState"];

    protected override IReadOnlyList<string> Optional => ["bias", "initialState"];

    protected override KernelBackend Backend { set => CausalConvolution.Backend = value; }

    protected override KernelBackend BackendFor(Tensor x) => CausalConvolution.BackendFor(x);

    protected override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(7);
        var (c, w) = Sizes[variant];
        return new()
        {
            ["x"] = randn([batch, length, c], ScalarType.Float64),
            ["weight"] = randn([c, w], ScalarType.Float64),
            ["bias"] = randn([c], ScalarType.Float64),
            ["initialState"] = randn([batch, w - 1, c], ScalarType.Float64),
        };
    }

    protected override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout = null) =>
        CausalConvolution.Forward(i["x"], i["weight"], i.GetValueOrDefault("bias"), true, i.GetValueOrDefault("initialState"), layout);

    protected override Tensor Step(Tensor state, Tensors i) => CausalConvolution.Step(state, i["x"], i["weight"], i.GetValueOrDefault("bias"), true);

    [Fact]
    public void Without_silu_it_is_the_plain_sum()
    {
        using var scope = NewDisposeScope();
        CheckAgainstReference(Inputs(2, 70), null, (i, layout) => CausalConvolution.Forward(i["x"], i["weight"], i["bias"], initialState: i["initialState"]));
        var x = arange(1, 6, ScalarType.Float32).reshape(1, 5, 1);
        var (output, final) = CausalConvolution.Forward(x, tensor(new float[] { 100, 10, 1 }, [1, 3]));
        Assert.Equal([1f, 12, 123, 234, 345], output.data<float>().ToArray());
        Assert.Equal([4f, 5], final.data<float>().ToArray());
    }

    [Fact]
    public void The_final_state_holds_nothing_of_an_earlier_document()
    {
        using var scope = NewDisposeScope();
        var x = arange(1, 6, ScalarType.Float32).reshape(1, 5, 1);
        using var layout = SequenceLayout.Packed([[3, 1]], 5);
        var (output, final) = CausalConvolution.Forward(x, tensor(new float[] { 100, 10, 1 }, [1, 3]), layout: layout);
        Assert.Equal([1f, 12, 123, 4, 0], output.data<float>().ToArray());
        Assert.Equal([0f, 4], final.data<float>().ToArray());
    }
}
