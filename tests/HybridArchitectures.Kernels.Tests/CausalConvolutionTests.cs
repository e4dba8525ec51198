using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class CausalConvolutionTests : SequenceOperatorTests
{
    protected override SequenceOperator Operator { get; } = new CausalConvolutionOperator();

    [Fact]
    public void Without_silu_it_is_the_plain_sum()
    {
        using var scope = NewDisposeScope();
        CheckAgainstReference(Inputs(2, 70), null,
            (i, layout) => CausalConvolution.Forward(i["x"], i["weight"], i["bias"], initialState: i["initialState"]));
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
