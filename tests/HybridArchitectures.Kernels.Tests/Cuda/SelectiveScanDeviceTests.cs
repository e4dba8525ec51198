using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class SelectiveScanDeviceTests : SequenceDeviceTests
{
    protected override SequenceOperator Operator { get; } = new SelectiveScanOperator();

    protected override Tensors LongInputs(long length) => SelectiveScanOperator.Inputs(1, length, 9, 3, 7);

    protected override Tensors LargeInputs() => SelectiveScanOperator.Inputs(2, 2048, 512, 1, 16);

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 4096), ["timeStep"] = Huge(8, 65_700, 4096), ["a"] = -rand([4096, 16], ScalarType.Float32, Card.Device) - 0.5,
        ["b"] = Huge(8, 65_700, 16), ["c"] = Huge(8, 65_700, 16), ["initialState"] = randn([8, 4096, 16], ScalarType.Float32, Card.Device),
    };
}
