namespace HybridArchitectures.Kernels.Tests.Cuda;

public class CausalConvolutionEmulationTests : SequenceEmulationTests
{
    static readonly CausalConvolutionOperator Convolution = new();

    protected override SequenceOperator Operator => Convolution;

    protected override int Variant => 0;
}
