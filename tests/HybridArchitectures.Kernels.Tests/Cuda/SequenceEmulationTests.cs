using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the CUDA kernels of an operator along a sequence under emulation. These are the checks of <see cref="SequenceDeviceTests"/> at sizes for a
/// CPU.
/// </summary>
public abstract class SequenceEmulationTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });

    protected abstract SequenceOperator Operator { get; }

    /// <summary>Gets which sizes of the operator are used.</summary>
    protected abstract int Variant { get; }

    SequenceProperties Properties => new(Operator);

    public void Dispose()
    {
        options.Dispose();
        GC.SuppressFinalize(this);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient(ScalarType type) =>
        CudaEmulation.BothOrders(() => Properties.PackedDocumentsEqualSeparateRows(type, [5, 0, 33, 1, 2, 0], 3, Variant));

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Padded_rows_equal_the_row_alone(ScalarType type) =>
        CudaEmulation.BothOrders(() => Properties.PaddedRowsEqualTheRowAlone(type, [36, 0, 1, 9], 36, Variant));

    [Theory]
    [InlineData(1), InlineData(32), InlineData(39)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at) =>
        CudaEmulation.BothOrders(() => Properties.SplitEqualsWhole(ScalarType.Float32, 40, at, Variant));

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Steps_equal_the_whole_row(ScalarType type) => CudaEmulation.BothOrders(() => Properties.StepsEqualTheWholeRow(type, 20, Variant));

    [Fact]
    public void Slices_of_wider_tensors_are_read_as_they_are()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var (inputs, sliced) = (Operator.Leaves(Operator.Inputs(2, 20, Variant), ScalarType.Float32),
            Operator.Leaves(Operator.Inputs(2, 20, Variant), ScalarType.Float32));
        foreach (var name in Operator.Timed)
        {
            var tensor = inputs[name].detach();
            var wide = full_like(cat([tensor, tensor, tensor], -1), double.NaN);
            wide.narrow(-1, tensor.size(-1), tensor.size(-1)).copy_(tensor);
            sliced[name] = wide.narrow(-1, tensor.size(-1), tensor.size(-1)).requires_grad_();
        }
        var expected = SequenceOperator.Backward(inputs, Operator.Forward(inputs));
        var actual = SequenceOperator.Backward(sliced, Operator.Forward(sliced));
        foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], ScalarType.Float32);
    }
}
