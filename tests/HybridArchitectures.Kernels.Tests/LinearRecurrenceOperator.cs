using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes the linear recurrence for the tests.</summary>
public sealed class LinearRecurrenceOperator : RecurrentOperator
{
    static readonly long[] Channels = [6, 1, 33];

    public override int Variants => Channels.Length;

    public override IReadOnlyList<string> Timed => ["x", "decay"];

    public override string Leading => "x";

    public override KernelBackend BackendFor(Tensor x) => LinearRecurrence.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { LinearRecurrenceBackend = backend };

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

    // the operator selects its chunks
    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        LinearRecurrence.Forward(i["x"], i["decay"], i.GetValueOrDefault("initialState"), layout);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) =>
        LinearRecurrenceReference.Forward(new(i["x"], i["decay"]) { InitialState = i.GetValueOrDefault("initialState"), Layout = layout });

    public override Tensor Step(Tensor state, Tensors i) => LinearRecurrence.Step(state, i["x"], i["decay"]);
}
