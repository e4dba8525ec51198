using HybridArchitectures.Kernels.Cuda.StateSpace;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class SelectiveScanDeviceTests : ScanDeviceTests
{
    protected override SequenceOperator Operator { get; } = new SelectiveScanOperator();

    // the sizes that mamba_ssm tests
    [Theory]
    [InlineData(8), InlineData(16), InlineData(32), InlineData(64), InlineData(128), InlineData(256), InlineData(372), InlineData(512),
        InlineData(784), InlineData(1024), InlineData(1134), InlineData(2048), InlineData(4096)]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_published_sizes(int length)
    {
        Gpu.IsNeeded();
        foreach (int groups in new[] { 1, 2 })
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(2, length, 4, groups, 8));
        }
    }

    // the sizes that kernels copy in whole pieces, as few channels and in chunks: only these reach the ones of bfloat16
    [Theory]
    [InlineData(1000), InlineData(0)]
    public void Channels_in_eights_err_at_most_twice_as_much_as_composed_operators(int maxWarps) => WithMaxWarps(maxWarps, () =>
    {
        foreach (var (batch, length, channels, groups, states) in new[] { (1, 15, 16, 1, 16), (2, 300, 48, 1, 16), (3, 257, 48, 2, 8) })
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(batch, length, channels, groups, states));
        }
        using var outer = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3], [64, 64, 72]], 200, Gpu.Device);
        ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(6, 200, 40, 1, 8), layout);
    });

    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(127), InlineData(128), InlineData(129), InlineData(255),
        InlineData(256), InlineData(257), InlineData(1000)]
    public void Channels_in_eights_err_at_most_twice_as_much_as_composed_operators_at_any_length(int length)
    {
        foreach (int maxWarps in new[] { 1000, 0 })
            WithMaxWarps(maxWarps, () =>
            {
                using var scope = NewDisposeScope();
                ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(1, length, 16, 1, 16));
            });
    }

    // One result in comparison with float32 is not as exact as required of every kernel: those of bfloat16 take the GPU's 2^x, which is low on
    // average (lab/kernels-log.md), and over thousands of tokens that adds up in the gradient of a, which is float32. Operators that take token by
    // token in float32 are 0.6e-6 to 2e-6 off there, those in chunks of this test 1e-7 to 4e-7, in bfloat16 throughout a quarter.
    [Theory]
    [InlineData(4099, 16, 1000), InlineData(4099, 16, 0), InlineData(8192, 64, 1000), InlineData(8192, 64, 0), InlineData(70_000, 16, 1000),
        InlineData(70_000, 16, 0)]
    public void Thousands_of_tokens_err_at_most_twice_as_much_or_in_the_gradient_of_a_by_three_millionths(int length, int channels, int maxWarps) =>
        WithMaxWarps(maxWarps, () =>
    {
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() => SelectiveScanOperator.Inputs(1, length, channels, 1, 16), ofA: 3e-6);
    });

    // rates and steps that Mamba begins with: -1 to -16, and 0.001 to 0.1 but for what the tokens add
    [Theory]
    [InlineData(1000, 0), InlineData(0, 0), InlineData(1000, -2), InlineData(0, -2)]
    public void Rates_that_models_begin_with_err_at_most_twice_as_much(int maxWarps, double further) => WithMaxWarps(maxWarps, () =>
    {
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() =>
        {
            var inputs = SelectiveScanOperator.Inputs(1, 4096, 64, 1, 16);
            inputs["A"] = -arange(1, 17, ScalarType.Float64).expand(64, 16);
            inputs["dtBias"] = (rand([64], ScalarType.Float64) * Math.Log(100) + Math.Log(0.001)).exp().expm1().log();
            inputs["dt"] = inputs["dt"] + 1.5 + further;
            return inputs;
        });
    });

    // the GPU's 2^x gets a little more than its exponent
    [Theory]
    [InlineData(ScalarType.BFloat16, 1000), InlineData(ScalarType.BFloat16, 0), InlineData(ScalarType.Float32, 1000),
        InlineData(ScalarType.Float32, 0)]
    public void Steps_of_0_leave_a_state_as_it_is_to_the_bit(ScalarType type, int maxWarps) =>
        WithMaxWarps(maxWarps, () => SelectiveScanOperator.StepsOf0LeaveStatesAsTheyAre(type, 20_000, Gpu.Device));

    static void WithMaxWarps(int maxWarps, Action check)
    {
        Gpu.IsNeeded();
        using var options = OperatorOptions.Use(new() { Thresholds = new() { MaxScanWarpsForWholeRows = maxWarps } });
        check();
    }

    protected override Tensors LongInputs(long length) => SelectiveScanOperator.Inputs(1, length, 9, 3, 7);

    protected override Tensors LargeInputs() => SelectiveScanOperator.Inputs(2, 2048, 512, 1, 16);

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 4096), ["dt"] = Huge(8, 65_700, 4096), ["A"] = -rand([4096, 16], ScalarType.Float32, Gpu.Device) - 0.5,
        ["B"] = Huge(8, 65_700, 16), ["C"] = Huge(8, 65_700, 16), ["initialState"] = randn([8, 4096, 16], ScalarType.Float32, Gpu.Device),
    };
}
