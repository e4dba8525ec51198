using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Compares the CUDA kernels of the selective scan and its single step under emulation with the reference in float64: output, final state and every
/// gradient.
/// </summary>
public class SelectiveScanCudaTests : IDisposable
{
    // with the defaults, sizes as small as these would all count as few channels
    readonly IDisposable options = OperatorOptions.Use(
        new() { Backend = KernelBackend.Cuda, Thresholds = new() { MaxScanWarpsForWholeRows = 0 } });

    public void Dispose() => options.Dispose();

    static IDisposable Use(LaunchThresholds thresholds) => OperatorOptions.Use(OperatorOptions.Current with { Thresholds = thresholds });

    static IDisposable UseWarpsForWholeRows(long warps) =>
        Use(OperatorOptions.Current.Thresholds with { MaxScanWarpsForWholeRows = warps });

    static Tensor Joined((Tensor Output, Tensor Final) results) => cat([results.Output.to(results.Final.dtype).flatten(), results.Final.flatten()]);

    // x, dt, A, B, C, D, z, bias, initial state
    static Tensor?[] Inputs(long batch, long length, long channels, long groups, long states, bool optional = true) =>
        [OperatorCheck.Normal(batch, length, channels), OperatorCheck.Normal(batch, length, channels) - 1.0,
            -rand([channels, states], ScalarType.Float64) * 2 - 0.01,
            OperatorCheck.Normal(batch, length, groups, states), OperatorCheck.Normal(batch, length, groups, states),
            optional ? OperatorCheck.Normal(channels) : null,
            optional ? OperatorCheck.Normal(batch, length, channels) : null, optional ? OperatorCheck.Normal(channels) * 0.3 : null,
            optional ? OperatorCheck.Normal(batch, channels, states) : null];

    static Tensor Run(IReadOnlyList<Tensor?> i, bool softplus, SequenceLayout? layout) =>
        Joined(SelectiveScan.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], i[7], softplus, i[8], layout));

    static Tensor Reference(IReadOnlyList<Tensor?> i, bool softplus, SequenceLayout? layout) =>
        Joined(SelectiveScanReference.Forward(new(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!)
        {
            D = i[5], Z = i[6], DtBias = i[7], Softplus = softplus, InitialState = i[8], Layout = layout,
        }));

    [Theory]
    [InlineData(1, 3, 1, 16)]
    [InlineData(33, 34, 1, 16)]
    [InlineData(70, 6, 2, 4)]
    [InlineData(40, 4, 2, 7)]
    [InlineData(35, 20, 1, 24)]
    [InlineData(32, 10, 2, 64)]
    [InlineData(17, 5, 1, 100)]
    [InlineData(18, 5, 1, 200)]
    public void Results_and_gradients_match_the_reference(int length, int channels, int groups, int states)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var inputs = Inputs(2, length, channels, groups, states);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, true, null), i => Reference(i, true, null), inputs));
    }

    // 16 neighbours in memory are copied in whole pieces, 33 one by one
    [Theory]
    [InlineData(33, 33, 1, 16)]
    [InlineData(18, 16, 2, 16)]
    [InlineData(5, 40, 1, 12)]
    public void Channels_in_fours_match_the_reference(int length, int channels, int groups, int states)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(9);
        var inputs = Inputs(2, length, channels, groups, states);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, true, null), i => Reference(i, true, null), inputs));
    }

    [Theory]
    [InlineData(70, 5, 1, 16, 5)]        // five tiles, each a chunk
    [InlineData(100, 8, 2, 5, 3)]        // seven tiles: forward a chunk of one and three of two, backward one of one and two of three
    [InlineData(50, 3, 1, 40, 2)]
    public void Rows_in_chunks_match_the_reference(int length, int channels, int groups, int states, int chunks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(10);
        using var chunked = Use(OperatorOptions.Current.Thresholds with { ScanWarps = 2 * chunks, MinScanTilesPerChunk = 1 });
        var inputs = Inputs(2, length, channels, groups, states);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, true, null), i => Reference(i, true, null), inputs));
    }

    [Fact]
    public void Documents_and_padding_in_chunks_match_the_reference()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(11);
        using var chunked = Use(OperatorOptions.Current.Thresholds with { ScanWarps = 1000, MinScanTilesPerChunk = 1 });
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        var inputs = Inputs(6, 70, 3, 1, 5);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, true, layout), i => Reference(i, true, layout), inputs));
    }

    // rows of less than a tile, of whole tiles and of more than are held raw; blocks and slots of kept states with channels missing; states missing
    [Theory]
    [InlineData(1, 16, 1, 16)]
    [InlineData(15, 4, 1, 16)]
    [InlineData(64, 40, 2, 8)]
    [InlineData(100, 48, 1, 16)]
    [InlineData(33, 36, 3, 12)]
    public void Few_channels_match_the_reference(int length, int channels, int groups, int states)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(12);
        using var thresholds = UseWarpsForWholeRows(1000);
        var inputs = Inputs(2, length, channels, groups, states);
        CudaEmulation.BothOrders(() =>
        {
            OperatorCheck.MatchesReference(i => Run(i, true, null), i => Reference(i, true, null), inputs);
            using var noGrad = no_grad();
            var leaves = inputs.Select(input => input?.to(ScalarType.Float32)).ToArray();
            OperatorCheck.Close(Reference(inputs, true, null), Run(leaves, true, null), 1e-5, "results without states kept");
        });
    }

    [Fact]
    public void Documents_and_padding_of_few_channels_match_the_reference()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(13);
        using var thresholds = UseWarpsForWholeRows(1000);
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        var inputs = Inputs(6, 70, 12, 1, 8);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, true, layout), i => Reference(i, true, layout), inputs));
    }

    [Fact]
    public void Of_few_channels_every_option_may_be_left_out()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(14);
        using var thresholds = UseWarpsForWholeRows(1000);
        var inputs = Inputs(1, 34, 8, 1, 8, optional: false);
        inputs[1] = inputs[1]!.abs() * 0.3;
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, false, null), i => Reference(i, false, null), inputs));
    }

    // decays of bfloat16 get a little more than their exponent
    [Theory]
    [InlineData(ScalarType.BFloat16, 1000), InlineData(ScalarType.BFloat16, 0), InlineData(ScalarType.Float32, 1000),
        InlineData(ScalarType.Float32, 0)]
    public void Steps_of_0_leave_a_state_as_it_is_to_the_bit(ScalarType type, int maxWarps)
    {
        using var thresholds = UseWarpsForWholeRows(maxWarps);
        using var emulation = new CudaEmulation();
        SelectiveScanOperator.StepsOf0LeaveStatesAsTheyAre(type, 70);
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var inputs = Inputs(1, 34, 5, 1, 8, optional: false);
        inputs[1] = inputs[1]!.abs() * 0.3;
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, false, null), i => Reference(i, false, null), inputs));
    }

    [Fact]
    public void Documents_and_padding_match_the_reference()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        var inputs = Inputs(6, 70, 3, 1, 5);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, true, layout), i => Reference(i, true, layout), inputs));
    }

    [Theory]
    [InlineData(12, 2, 16, false, false)]
    [InlineData(16, 2, 16, true, false)]
    [InlineData(40, 1, 16, false, false)]
    [InlineData(16, 1, 64, true, false)]
    [InlineData(16, 2, 8, false, true)]
    [InlineData(40, 1, 16, false, true)]
    public void BFloat16_is_as_good_as_the_reference_with_float32_sums(int channels, int groups, int states, bool chunks, bool few)
    {
        using var thresholds = Use(new() { MinScanTilesPerChunk = chunks ? 1 : 8, MaxScanWarpsForWholeRows = few ? 1000 : 0 });
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        using var emulation = new CudaEmulation();
        var inputs = Inputs(2, 40, channels, groups, states);
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            i => Run(i, true, null), i => Reference(i, true, null), i => Reference(i, true, null), inputs, 2, 5, 7, 8);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1000)]
    public void Strong_decay_stays_finite_and_repeated_runs_are_equal_to_the_bit(int maxWarps)
    {
        using var thresholds = UseWarpsForWholeRows(maxWarps);
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        using var emulation = new CudaEmulation();
        var inputs = Inputs(1, 66, 4, 1, 16);
        inputs[2] = full_like(inputs[2]!, -1000);
        var first = OperatorCheck.Run(i => Run(i, true, null), inputs, ScalarType.Float32);
        var second = OperatorCheck.Run(i => Run(i, true, null), inputs, ScalarType.Float32);
        for (int i = 0; i < first.Length; i++)
        {
            Assert.True(first[i].isfinite().all().item<bool>());
            Assert.True(first[i].equal(second[i]).all().item<bool>());
        }
    }

    [Theory]
    [InlineData(3, 16)]
    [InlineData(5, 7)]
    [InlineData(1, 200)]
    public void Steps_of_both_scans_match_the_reference(int channels, int states)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(8);
        using var noGrad = no_grad();
        CudaEmulation.BothOrders(() =>
        {
            foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
            {
                Tensor Half(params long[] size) => randn(size, type);
                double tolerance = type == ScalarType.Float32 ? 1e-5 : 8e-3;       // bfloat16: half a unit of its 8 bits in the output
                var (x, dt, z, B, C) = (Half(2, channels), Half(2, channels), Half(2, channels), Half(2, 1, states), Half(2, 1, states));
                var (A, D, bias, state) = (-rand(channels, states), randn(channels), randn(channels), randn(2, channels, states));
                var (expected, after) = SelectiveScanReference.Forward(
                    new SelectiveScanInputs(x, dt, A, B, C) { D = D, Z = z, DtBias = bias, Softplus = true }.AsRows(state.clone()));
                var own = state.clone();
                var output = SelectiveScan.Step(own, x, dt, A, B, C, D, z, bias, true);
                OperatorCheck.Close(expected.squeeze(1), output, tolerance, "the output");
                OperatorCheck.Close(after, own, 1e-5, "the state");

                var (heads, groups) = (2 * channels, channels);
                (x, dt, B, C) = (Half(2, heads, 5), Half(2, heads), Half(2, groups, states), Half(2, groups, states));
                (A, D, bias, state) = (-rand(heads), randn(heads), randn(heads), randn(2, heads, 5, states));
                (expected, after) = StateSpaceDualReference.Forward(new StateSpaceDualInputs(x, dt, A, B, C)
                {
                    D = D, DtBias = bias, Softplus = true, DtLimit = (0.3, 0.9),
                }.AsRows(state.clone()));
                own = state.clone();
                output = StateSpaceDual.Step(own, x, dt, A, B, C, D, bias, true, (0.3, 0.9));
                OperatorCheck.Close(expected.squeeze(1), output, tolerance, "the dual's output");
                OperatorCheck.Close(after, own, 1e-5, "the dual's state");
            }
        });
    }

    [Fact]
    public void Too_many_states_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        Refusal.Expect("A", "257 states", () =>
            SelectiveScan.Forward(zeros(1, 4, 2), zeros(1, 4, 2), zeros(2, 257), zeros(1, 4, 257), zeros(1, 4, 257)));
    }
}
