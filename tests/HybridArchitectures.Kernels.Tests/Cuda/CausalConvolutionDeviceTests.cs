using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class CausalConvolutionDeviceTests : SequenceDeviceTests
{
    protected override SequenceOperator Operator { get; } = new CausalConvolutionOperator();

    // the sizes that causal_conv1d tests
    [Theory]
    [InlineData(64, 2), InlineData(64, 3), InlineData(64, 4), InlineData(4128, 2), InlineData(4128, 3), InlineData(4128, 4)]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_published_sizes(int channels, int width)
    {
        Gpu.IsNeeded();
        foreach (int length in new[] { 1, 2, 8, 16, 32, 64, 128, 129, 130, 151, 256, 372, 512, 784, 1024, 1134, 2048, 4096 })
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => CausalConvolutionOperator.Inputs(channels > 1000 ? 1 : 2, length, channels, width));
        }
    }

    protected override Tensors LongInputs(long length) => CausalConvolutionOperator.Inputs(2, length, 40, 4);

    protected override Tensors LargeInputs() => CausalConvolutionOperator.Inputs(2, 2048, 1024, 4);

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 4096), ["weight"] = randn([4096, 4], ScalarType.Float32, Gpu.Device),
            ["bias"] = randn([4096], ScalarType.Float32, Gpu.Device),
        ["initialState"] = Huge(8, 3, 4096),
    };
}
