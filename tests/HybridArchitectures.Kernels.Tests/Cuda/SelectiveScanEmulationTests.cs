namespace HybridArchitectures.Kernels.Tests.Cuda;

public class SelectiveScanEmulationTests : ScanEmulationTests
{
    static readonly SelectiveScanOperator Scan = new();

    protected override SequenceOperator Operator => Scan;

    protected override int Variant => 2;
}
