using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class SelectiveScanDeviceTests : ScanDeviceTests
{
    protected override SequenceOperator Operator { get; } = new SelectiveScanOperator();

    // the sizes that mamba_ssm tests
    [Theory]
    [InlineData(8), InlineData(16), InlineData(32), InlineData(64), InlineData(128), InlineData(256), InlineData(372), InlineData(512), InlineData(784), InlineData(1024), InlineData(1134), InlineData(2048), InlineData(4096)]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_published_sizes(int length)
    {
        Card.IsNeeded();
        foreach (int groups in new[] { 1, 2 })
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(2, length, 4, groups, 8));
        }
    }

    protected override Tensors LongInputs(long length) => SelectiveScanOperator.Inputs(1, length, 9, 3, 7);

    protected override Tensors LargeInputs() => SelectiveScanOperator.Inputs(2, 2048, 512, 1, 16);

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 4096), ["timeStep"] = Huge(8, 65_700, 4096), ["a"] = -rand([4096, 16], ScalarType.Float32, Card.Device) - 0.5,
        ["b"] = Huge(8, 65_700, 16), ["c"] = Huge(8, 65_700, 16), ["initialState"] = randn([8, 4096, 16], ScalarType.Float32, Card.Device),
    };
}
