using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Compares the CUDA kernels of the state-space dual under emulation with the reference in float64: output, final state and every gradient.
/// </summary>
public class StateSpaceDualCudaTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { StateSpaceDualBackend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    static Tensor Joined((Tensor Output, Tensor Final) results) => cat([results.Output.to(results.Final.dtype).flatten(), results.Final.flatten()]);

    // x, dt, A, B, C, D, bias, initial state
    static Tensor?[] Inputs(long batch, long length, long heads, long headSize, long groups, long states, bool optional = true) =>
        [OperatorCheck.Normal(batch, length, heads, headSize), OperatorCheck.Normal(batch, length, heads) - 1.0,
            -rand([heads], ScalarType.Float64) * 2 - 0.01,
            OperatorCheck.Normal(batch, length, groups, states), OperatorCheck.Normal(batch, length, groups, states),
            optional ? OperatorCheck.Normal(heads) : null,
            optional ? OperatorCheck.Normal(heads) * 0.3 : null, optional ? OperatorCheck.Normal(batch, heads, headSize, states) : null];

    static Tensor Run(IReadOnlyList<Tensor?> i, SequenceLayout? layout, (double, double)? limit, bool softplus = true) =>
        Joined(StateSpaceDual.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], softplus, limit, i[7], layout));

    static Tensor Reference(IReadOnlyList<Tensor?> i, SequenceLayout? layout, (double, double)? limit, bool softplus = true) =>
        Joined(StateSpaceDualReference.Forward(new(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!)
        {
            D = i[5], DtBias = i[6], Softplus = softplus, DtLimit = limit, InitialState = i[7], Layout = layout,
        }));

    // lengths next to the edges of chunks of 16 and 32; head sizes that share a warp's 32 channels, fill several warps or blocks; states of one step
    // and of several
    [Theory]
    [InlineData(1, 1, 3, 1, 7)]
    [InlineData(33, 4, 32, 2, 16)]
    [InlineData(65, 3, 40, 1, 40)]
    [InlineData(31, 1, 136, 1, 8)]
    [InlineData(17, 2, 16, 2, 144)]
    public void Results_and_gradients_match_the_reference(int length, int heads, int headSize, int groups, int states)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var inputs = Inputs(2, length, heads, headSize, groups, states);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, null, (0.05, 3)), i => Reference(i, null, (0.05, 3)), inputs));
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var inputs = Inputs(1, 34, 2, 32, 1, 16, optional: false);
        inputs[1] = inputs[1]! * 0.3;       // steps of either sign
        inputs[2] = inputs[2]! * 0.1;
        using var emulation = new CudaEmulation();
        OperatorCheck.MatchesReference(i => Run(i, null, null, false), i => Reference(i, null, null, false), inputs);
    }

    [Fact]
    public void Documents_and_padding_match_the_reference()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        var inputs = Inputs(6, 70, 2, 5, 1, 16);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(i => Run(i, layout, null), i => Reference(i, layout, null), inputs));
    }

    [Fact]
    public void More_states_than_a_pass_takes_are_summed_over_passes()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        var inputs = Inputs(1, 18, 1, 16, 1, 272);
        using var emulation = new CudaEmulation();
        OperatorCheck.MatchesReference(i => Run(i, null, null), i => Reference(i, null, null), inputs);
    }

    // chunks of 64, whole vectors, segments; the element-by-element path; products of four warps, with two heads a block, half a block, and two
    // blocks a head
    [Theory]
    [InlineData(130, 2, 32, 32)]
    [InlineData(66, 6, 4, 20)]
    [InlineData(200, 2, 64, 64)]
    [InlineData(66, 1, 64, 128)]
    [InlineData(66, 1, 192, 64)]
    public void BFloat16_is_as_good_as_products_of_bfloat16(int length, int heads, int headSize, int states)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        using var layout = SequenceLayout.Packed([[length - 9, 9], [length / 2]], length);
        var kept = new HashSet<int> { 2, 5, 6, 7 };
        var inputs = Inputs(2, length, heads, headSize, 1, states)
            .Select((input, i) => input!.to(kept.Contains(i) ? ScalarType.Float32 : ScalarType.BFloat16)).ToArray();
        foreach (var (rows, backwards) in new[] { (null, false), (layout, true) })
        {
            using var emulation = new CudaEmulation(backwards);
            var expected = OperatorCheck.Run(i => Reference(i, rows, null), inputs, ScalarType.Float64);
            var composed = OperatorCheck.Run(
                i => Joined(StateSpaceDualOperator.Chunked(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], i[7], rows)), inputs, ScalarType.BFloat16,
                kept);
            var actual = OperatorCheck.Run(i => Run(i, rows, null), inputs, ScalarType.BFloat16, kept);
            // a, skip and bias have one number per head: too few for a mean error, but never further off than a bfloat16 is
            for (int i = 0; i < expected.Length; i++)
                OperatorCheck.ErrsAtMostTwice($"result {i}", actual[i], composed[i], expected[i], kept.Contains(i - 1) && i < 8 ? 4e-3 : 1e-6);
        }
    }

    // the copy engine takes no stride of zero, nor one that 16 bytes do not divide
    [Fact]
    public void Shared_projections_and_slices_of_wider_tensors_equal_their_copies()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(11);
        using var emulation = new CudaEmulation();
        var kept = new HashSet<int> { 2, 5, 6, 7 };
        var inputs = Inputs(2, 70, 2, 64, 1, 64).Select((input, i) => input!.to(kept.Contains(i) ? ScalarType.Float32 : ScalarType.BFloat16))
            .ToArray();
        foreach (long width in new[] { 128, 132 })
        {
            inputs[3] = OperatorCheck.Normal(1, 70, 1, 64).to(ScalarType.BFloat16).expand(2, -1, -1, -1);
            inputs[4] = OperatorCheck.Normal(2, 70, 1, width).to(ScalarType.BFloat16).narrow(3, 64, 64);
            Tensor[] given = Results(tensor => tensor), copied = Results(tensor => tensor.contiguous());
            for (int i = 0; i < given.Length; i++) Assert.True(given[i].equal(copied[i]).all().item<bool>());
        }

        Tensor[] Results(Func<Tensor, Tensor> of)
        {
            Tensor?[] own = [inputs[0]!.clone().requires_grad_(), .. inputs.Skip(1).Select(of!)];
            var results = Run(own!, null, null);
            Autograd.Backward(results.square().sum());
            return [results.detach(), own[0]!.grad!];
        }
    }

    [Fact]
    public void Projections_of_a_wider_type_than_the_input_are_taken_as_they_are()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(8);
        using var emulation = new CudaEmulation();
        var inputs = Inputs(1, 20, 1, 16, 1, 16).Select((input, i) => input!.to(i == 0 ? ScalarType.BFloat16 : ScalarType.Float32)).ToArray();
        var (output, final) = StateSpaceDual.Forward(
            inputs[0]!, inputs[1]!, inputs[2]!, inputs[3]!, inputs[4]!, inputs[5], inputs[6], true, null, inputs[7]);
        var exact = inputs.Select(input => input!.to(ScalarType.Float64)).ToArray();
        var (expected, expectedFinal) = StateSpaceDualReference.Forward(new(exact[0], exact[1], exact[2], exact[3], exact[4])
        {
            D = exact[5], DtBias = exact[6], Softplus = true, InitialState = exact[7],
        });
        Assert.Equal(ScalarType.BFloat16, output.dtype);
        OperatorCheck.Close(expected, output, 4e-3, "the output");       // half a unit of bfloat16's 8 bits
        OperatorCheck.Close(expectedFinal, final, 2e-6, "the state");
    }

    [Fact]
    public void States_made_again_are_those_that_were_kept()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(10);
        using var emulation = new CudaEmulation();
        var inputs = Inputs(2, 40, 2, 32, 1, 16);
        var kept = OperatorCheck.Run(i => Run(i, null, null), inputs, ScalarType.Float32);
        using var computedAgain = OperatorOptions.Use(OperatorOptions.Current with { SaveChunkStates = false });
        var made = OperatorCheck.Run(i => Run(i, null, null), inputs, ScalarType.Float32);
        for (int i = 0; i < made.Length; i++) Assert.True(kept[i].equal(made[i]).all().item<bool>());
    }

    [Fact]
    public void Repeated_runs_are_equal_to_the_bit()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(9);
        var inputs = Inputs(2, 40, 4, 32, 2, 16);
        Tensor[]? first = null;
        CudaEmulation.BothOrders(() =>
        {
            var results = OperatorCheck.Run(i => Run(i, null, null), inputs, ScalarType.BFloat16, new HashSet<int> { 2, 5, 6, 7 });
            first ??= results;
            for (int i = 0; i < results.Length; i++) Assert.True(first[i].equal(results[i]).all().item<bool>());
        });
    }

    [Theory]
    [InlineData(90, 232_448), InlineData(80, 166_912), InlineData(86, 101_376), InlineData(120, 101_376)]
    public void Every_size_has_a_configuration_that_fits_the_shared_memory(int capability, int shared)
    {
        foreach (bool single in new[] { false, true })
            foreach (long headSize in new[] { 1, 32, 64, 96, 128, 200, 1000 })
                foreach (long states in new[] { 1, 16, 64, 96, 128, 256 })
                    foreach (long heads in new[] { 1, 3, 64 })
                    {
                        var shape = StateSpaceDualShape.For(
                            headSize, Math.Min(states, StateSpaceDualShape.MaxStates(single, shared)), single, heads, false, capability, shared);
                        Assert.InRange(new[] { shape.StatesShared, shape.ScanShared, shape.PairShared }.Max(), 1, shared);
                    }
    }
}
