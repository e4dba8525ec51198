using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests under emulation that kernels write gradients of slices to their places.</summary>
public sealed class SlicedMixerEmulationTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    static void Check(SlicedMixer mixer, long batch, long length, ScalarType type, bool isSplit, bool normFirst = false, int capability = 90,
        SequenceLayout? layout = null)
    {
        using var emulation = new CudaEmulation(capability: capability);
        mixer.EqualsGradientsJoinedByCopy(batch, length, type, CPU, isSplit, normFirst, layout);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Gradients_have_the_bits_of_those_joined_by_a_copy(ScalarType type)
    {
        Check(new(8, 8, 8, 16), 2, 37, type, isSplit: false);
        Check(new(8, 8, 1, 16), 1, 13, type, isSplit: true, normFirst: true);
        Check(new(8, 24, 8, 24, Taps: 3), 1, 70, type, isSplit: false, normFirst: true);
    }

    [Theory]
    [InlineData(80), InlineData(90)]
    public void Kernels_of_single_warps_and_of_four_write_slices(int capability) =>
        Check(new(8, 64, 8, 64), 1, 70, ScalarType.BFloat16, isSplit: false, capability: capability);

    [Fact]
    public void Padding_and_documents_have_zeros_in_slices()
    {
        using var packed = SequenceLayout.Packed([[5, 0, 33, 1], [20]], 39);
        Check(new(8, 8, 8, 16), 2, 39, ScalarType.BFloat16, isSplit: false, layout: packed);
    }
}
