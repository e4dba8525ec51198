using HybridArchitectures.Kernels.Cuda;
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

    // the sizes that kernels copy in whole pieces, as few channels and in chunks: only these reach the ones of bfloat16
    [Theory]
    [InlineData(1000), InlineData(0)]
    public void Channels_in_eights_err_at_most_twice_as_much_as_composed_operators(int fewWarps) => WithFewWarps(fewWarps, () =>
    {
        foreach (var (batch, length, channels, groups, states) in new[] { (1, 15, 16, 1, 16), (2, 300, 48, 1, 16), (3, 257, 48, 2, 8) })
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(batch, length, channels, groups, states));
        }
        using var outer = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3], [64, 64, 72]], 200, Card.Device);
        ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(6, 200, 40, 1, 8), layout);
    });

    // Not what is asked of every kernel: those of bfloat16 take the card's 2^x, which is low on average (docs/kernels-log.md). What is float32, the final state and the gradient of a, is off by more
    // than twice what it is composed, where states last for hundreds of tokens. Float32 keeps the rule.
    [Theory]
    [InlineData(1000), InlineData(0)]
    public void States_that_last_err_at_most_twice_as_much_or_in_bfloat16_by_four_millionths(int fewWarps) => WithFewWarps(fewWarps, () =>
    {
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(1, 8192, 64, 1, 16), order: 4e-6);
    });

    static void WithFewWarps(int fewWarps, Action check)
    {
        Card.IsNeeded();
        long before = SelectiveScanCuda.FewWarps;
        try
        {
            SelectiveScanCuda.FewWarps = fewWarps;
            check();
        }
        finally
        {
            SelectiveScanCuda.FewWarps = before;
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
