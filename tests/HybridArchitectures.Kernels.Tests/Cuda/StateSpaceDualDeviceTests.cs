using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class StateSpaceDualDeviceTests : ScanDeviceTests
{
    protected override SequenceOperator Operator { get; } = new StateSpaceDualOperator();

    // the paper's chunks of bfloat16 products
    protected override Func<Tensors, SequenceLayout?, (Tensor, Tensor)>? Alike(ScalarType type) =>
        type != ScalarType.BFloat16 ? null : static (i, layout) =>
        StateSpaceDualOperator.Chunked(
            i["x"], i["dt"], i["A"], i["B"], i["C"], i.GetValueOrDefault("D"), i.GetValueOrDefault("dtBias"),
            i.GetValueOrDefault("initialState"), layout);

    protected override Tensors LongInputs(long length) => StateSpaceDualOperator.Inputs(1, length, 4, 24, 2, 40);

    protected override Tensors LargeInputs() => StateSpaceDualOperator.Inputs(2, 2048, 16, 64, 1, 128);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void States_computed_again_have_the_bits_of_saved_ones(ScalarType type)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        foreach (var values in (Tensors[])[LargeInputs(), StateSpaceDualOperator.Inputs(2, 1000, 4, 128, 1, 128), Operator.Inputs(2, 300)])
        {
            Tensors Gradients(bool saves)
            {
                var leaves = Operator.Leaves(values, type, device: Gpu.Device);
                using var options = OperatorOptions.Use(OperatorOptions.Current with { SaveChunkStates = saves });
                return SequenceOperator.Backward(leaves, Operator.Forward(leaves));
            }
            var (saved, again) = (Gradients(true), Gradients(false));
            foreach (var (name, gradient) in saved) Assert.True(gradient.equal(again[name]).all().item<bool>(), $"'{name}' differs");
        }
    }

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 64, 64), ["dt"] = Huge(8, 65_700, 64), ["A"] = -rand([64], ScalarType.Float32, Gpu.Device) - 0.5,
        ["B"] = Huge(8, 65_700, 1, 64), ["C"] = Huge(8, 65_700, 1, 64), ["initialState"] = randn([8, 64, 64, 64], ScalarType.Float32, Gpu.Device),
    };
}
