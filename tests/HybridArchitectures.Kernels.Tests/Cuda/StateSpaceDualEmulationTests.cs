namespace HybridArchitectures.Kernels.Tests.Cuda;

public class StateSpaceDualEmulationTests : SequenceEmulationTests
{
    static readonly StateSpaceDualOperator Dual = new();

    protected override SequenceOperator Operator => Dual;

    protected override int Variant => 0;
}
