using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public sealed class LinearRecurrenceOperator : SequenceOperator
{
    static readonly long[] Channels = [6, 1, 33];

    public override int Variants => Channels.Length;

    public override IReadOnlyList<string> Timed => ["x", "decay"];

    public override IReadOnlyList<string> Optional => ["initialState"];

    public override KernelBackend BackendFor(Tensor x) => LinearRecurrence.BackendFor(x);

    public override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(11 + Draw);
        long channels = Channels[variant];
        return new()
        {
            ["x"] = randn([batch, length, channels], ScalarType.Float64),
            ["decay"] = -rand([batch, length, channels], ScalarType.Float64),
            ["initialState"] = randn([batch, channels], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout = null) =>
        LinearRecurrence.Forward(i["x"], i["decay"], i.GetValueOrDefault("initialState"), layout);

    public static (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) =>
        LinearRecurrenceReference.Forward(new(i["x"], i["decay"]) { InitialState = i.GetValueOrDefault("initialState"), Layout = layout });

    public override (Tensor Output, Tensor Final) Composed(Tensors inputs, SequenceLayout? layout = null) => Forward(inputs, layout);

    public override Tensor Step(Tensor state, Tensors i) => LinearRecurrence.Step(state, i["x"], i["decay"]);
}
