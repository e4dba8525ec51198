using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Compares the CUDA kernels of the causal convolution under emulation with the reference in float64: output, final state and every gradient.
/// </summary>
public class CausalConvolutionCudaTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { CausalConvolutionBackend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    static Tensor Joined((Tensor Output, Tensor Final) results) => cat([results.Output.flatten(), results.Final.flatten()]);

    static void Check(long batch, long length, long channels, long width, bool silu, SequenceLayout? layout, bool optional = true)
    {
        using var random = manual_seed(3);
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(
            i => Joined(CausalConvolution.Forward(i[0]!, i[1]!, i[2], silu, i[3], layout)),
            i => Joined(CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = silu, InitialState = i[3], Layout = layout })),
            [OperatorCheck.Normal(batch, length, channels), OperatorCheck.Normal(channels, width), optional ? OperatorCheck.Normal(channels) : null,
                optional ? OperatorCheck.Normal(batch, width - 1, channels) : null]));
    }

    [Theory]
    [InlineData(1, 8, 4, true)]
    [InlineData(2, 5, 4, false)]
    [InlineData(63, 8, 4, true)]
    [InlineData(65, 12, 3, true)]
    [InlineData(129, 4, 2, false)]
    [InlineData(40, 9, 7, true)]
    [InlineData(3, 4, 8, true)]
    [InlineData(33, 8, 1, true)]
    public void Results_and_gradients_match_the_reference(int length, int channels, int width, bool silu)
    {
        using var scope = NewDisposeScope();
        Check(2, length, channels, width, silu, null);
        Check(1, length, channels, width, silu, null, optional: false);
    }

    [Theory]
    [InlineData(8, 4)]
    [InlineData(5, 3)]
    [InlineData(4, 7)]
    public void Documents_and_padding_match_the_reference(int channels, int width)
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [68, 1, 1]], 70);
        Check(6, 70, channels, width, true, layout);
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Steps_equal_the_whole_row(ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var noGrad = no_grad();
        foreach (var (channels, width) in new[] { (8, 4), (5, 3), (16, 8), (8, 1) })
        {
            using var emulation = new CudaEmulation();
            var (x, weight, bias) = (randn([3, 9, channels], type), randn(channels, width), randn(channels));
            var state = randn([3, width - 1, channels], type);
            var (output, final) = CausalConvolution.Forward(x, weight, bias, true, state.clone());
            for (int t = 0; t < 9; t++)
                Assert.True(CausalConvolution.Step(state, x.select(1, t), weight, bias, true).equal(output.select(1, t)).all().item<bool>());
            Assert.True(state.equal(final).all().item<bool>());
        }
    }

    [Fact]
    public void BFloat16_is_as_good_as_the_reference_with_float32_sums()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        using var emulation = new CudaEmulation();
        OperatorCheck.BFloat16IsAsGoodAsComposed(i => Joined(CausalConvolution.Forward(i[0]!, i[1]!, i[2], true, i[3])),
            i => Joined(CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = true, InitialState = i[3] })),
            i => Joined(CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = true, InitialState = i[3] })),
            [OperatorCheck.Normal(2, 70, 16), OperatorCheck.Normal(16, 4), OperatorCheck.Normal(16), OperatorCheck.Normal(2, 3, 16)], 1, 2);
    }

    // full rows of one document, without states, have separate kernels: channels of one slab, of two, and single ones; rows that end in every
    // part of a stage, a tile, and a block; few parts to add up and many
    [Theory]
    [InlineData(1, 1, 4, true)]
    [InlineData(3, 2, 8, false)]
    [InlineData(2, 3, 5, true)]
    [InlineData(2, 35, 132, true)]
    [InlineData(1, 36, 4, true)]
    [InlineData(1, 63, 7, false)]
    [InlineData(1, 255, 8, true)]
    [InlineData(1, 258, 4, true)]
    [InlineData(2, 261, 3, true)]
    [InlineData(70, 5, 4, true)]
    [InlineData(2, 193, 4, true)]
    [InlineData(1, 385, 8, true)]
    [InlineData(1, 24, 4, true)]
    [InlineData(1, 27, 4, false)]
    [InlineData(34, 6, 9, true)]
    [InlineData(19, 4, 4, false)]
    public void Full_rows_match_the_reference_in_every_gradient(int batch, int length, int channels, bool silu)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(8);
        foreach (bool biased in new[] { true, false })
            CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(
                i => CausalConvolution.Forward(i[0]!, i[1]!, i[2], silu).Output, i =>
                CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = silu }).Output,
                [OperatorCheck.Normal(batch, length, channels), OperatorCheck.Normal(channels, 4), biased ? OperatorCheck.Normal(channels) : null]));
    }

    // full rows of several documents, too: documents that begin at every token of a stage, before and after the end of a tile and of a block, and
    // at neighbouring tokens
    [Theory]
    [InlineData(8, true, false)]
    [InlineData(4, false, false)]
    [InlineData(132, true, false)]
    [InlineData(8, true, true)]
    public void Full_rows_of_documents_match_the_reference_in_every_gradient(int channels, bool silu, bool continued)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(12);
        long[][] documents = [[1, 1, 2, 5, 7, 6, 1, 24, 1, 3, 40, 101, 3, 1, 4], [200], [23, 1, 1, 1, 166, 1, 7], [190, 10]];
        using var layout = SequenceLayout.Packed(documents, 200);
        Assert.Null(layout.Valid);
        Tensor?[] inputs = [OperatorCheck.Normal(4, 200, channels), OperatorCheck.Normal(channels, 4), OperatorCheck.Normal(channels),
            continued ? OperatorCheck.Normal(4, 3, channels) : null];
        CudaEmulation.BothOrders(() => OperatorCheck.MatchesReference(
            i => CausalConvolution.Forward(i[0]!, i[1]!, i[2], silu, i[3], layout).Output,
            i => CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = silu, InitialState = i[3], Layout = layout }).Output, inputs));
    }

    [Fact]
    public void Full_rows_of_documents_equal_their_documents_to_the_bit()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(13);
        using var noGrad = no_grad();
        using var emulation = new CudaEmulation();
        long[] lengths = [1, 2, 9, 10, 11, 3, 64];
        using var layout = SequenceLayout.Packed([lengths], lengths.Sum());
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
        {
            var (x, weight, bias) = (randn([1, lengths.Sum(), 8], type), randn([8, 4], type), randn([8], type));
            var together = CausalConvolution.Forward(x, weight, bias, true, null, layout);
            var apart = x.split(lengths, 1).Select(document => CausalConvolution.Forward(document, weight, bias, true)).ToArray();
            Assert.True(together.Output.Equals(cat([.. apart.Select(one => one.Output)], 1)), $"{type}");
            Assert.True(together.FinalState.Equals(apart[^1].FinalState), $"{type}, final state");
        }
    }

    [Theory]
    [InlineData(8), InlineData(5)]
    public void Full_rows_in_bfloat16_are_as_good_as_composed_with_parameters_of_either_type(int channels)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(10);
        using var emulation = new CudaEmulation();
        foreach (int[] float32 in new int[][] { [], [1, 2], [1] })
            OperatorCheck.BFloat16IsAsGoodAsComposed(i => CausalConvolution.Forward(i[0]!, i[1]!, i[2], true).Output,
                i => CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = true }).Output, i =>
                CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = true }).Output,
                [OperatorCheck.Normal(3, 150, channels), OperatorCheck.Normal(channels, 4), OperatorCheck.Normal(channels)], float32);
        if (channels != 8) return;
        using var layout = SequenceLayout.Packed([[1, 30, 2, 117], [150], [148, 1, 1]], 150);
        Tensor Reference(IReadOnlyList<Tensor?> i) =>
            CausalConvolutionReference.Forward(new(i[0]!, i[1]!, i[2]) { Silu = true, Layout = layout }).Output;
        OperatorCheck.BFloat16IsAsGoodAsComposed(i => CausalConvolution.Forward(i[0]!, i[1]!, i[2], true, null, layout).Output, Reference, Reference,
            [OperatorCheck.Normal(3, 150, channels), OperatorCheck.Normal(channels, 4), OperatorCheck.Normal(channels)]);
    }

    [Fact]
    public void Parameters_may_lie_anywhere()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(11);
        using var noGrad = no_grad();
        using var emulation = new CudaEmulation();
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
        {
            var (x, buffer) = (randn([2, 20, 8], type), randn([1 + 8 * 4 + 8], type));
            var (weight, bias) = (buffer.narrow(0, 1, 32).reshape(8, 4), buffer.narrow(0, 33, 8));
            Assert.True(CausalConvolution.Forward(x, weight, bias, true).Output.equal(
                CausalConvolution.Forward(x, weight.clone(), bias.clone(), true).Output).all().item<bool>());
        }
    }

    [Fact]
    public void A_filter_too_wide_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        Refusal.Expect("weight", "width 9", () => CausalConvolution.Forward(zeros(1, 4, 2), zeros(2, 9)));
    }
}
