using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class CausalConvolutionDeviceTests : SequenceDeviceTests
{
    protected override SequenceOperator Operator { get; } = new CausalConvolutionOperator();

    protected override Tensors LongInputs(long length) => CausalConvolutionOperator.Inputs(2, length, 40, 4);

    protected override Tensors LargeInputs() => CausalConvolutionOperator.Inputs(2, 2048, 1024, 4);

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 4096), ["weight"] = randn([4096, 4], ScalarType.Float32, Card.Device), ["bias"] = randn([4096], ScalarType.Float32, Card.Device),
        ["initialState"] = Huge(8, 3, 4096),
    };
}
