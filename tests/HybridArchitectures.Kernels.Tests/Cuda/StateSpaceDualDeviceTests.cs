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

    protected override Tensors HugeInputs() => new()
    {
        ["x"] = Huge(8, 65_700, 64, 64), ["dt"] = Huge(8, 65_700, 64), ["A"] = -rand([64], ScalarType.Float32, Gpu.Device) - 0.5,
        ["B"] = Huge(8, 65_700, 1, 64), ["C"] = Huge(8, 65_700, 1, 64), ["initialState"] = randn([8, 64, 64, 64], ScalarType.Float32, Gpu.Device),
    };
}
