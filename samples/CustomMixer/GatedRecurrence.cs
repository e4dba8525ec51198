using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace CustomMixer;

/// <summary>
/// Implements the module of <see cref="GatedRecurrenceSpec"/>. Its recurrence is a selective scan with one state per channel. With a = -1 and b = c =
/// 1 the scan computes h_t = exp(-d_t) h_{t-1} + d_t x_t. A forget gate of exp(-d_t) and an input of (1 - exp(-d_t)) v_t / d_t therefore result in
/// the gated recurrence. The kernels of the library then handle packed documents, padding and states.
/// </summary>
sealed class GatedRecurrence : Mixer
{
    readonly GatedRecurrenceSpec spec;
    readonly Linear input, output;

    public GatedRecurrence(ModuleFactory factory, GatedRecurrenceSpec spec) : base(nameof(GatedRecurrence))
    {
        this.spec = spec;
        input = Add("input", new Linear(factory.Projection(3 * spec.InnerWidth, factory.Width)));
        output = Add("output", new Linear(factory.Projection(factory.Width, spec.InnerWidth, intoResidual: true)));
        // softplus(bias) between 0.005 and 0.5: states that last from a few to a few hundred tokens
        AddParameter("forget_bias", factory.FromUniform(Math.Log(0.005), Math.Log(0.5), logarithm => logarithm.exp().expm1().log(), spec.InnerWidth),
            decays: false);
    }

    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        var own = (RecurrentState?)state;
        var parts = input.Forward(x).chunk(3, -1);
        Tensor value = parts[0], gate = parts[2];
        var forget = nn.functional.softplus(parts[1].to(float32).add(Parameter("forget_bias"), Scalars.One));       // d_t > 0
        var written = forget.neg().expm1().neg().div(forget).to(value.dtype).mul(value);                            // (1 - exp(-d_t)) v_t / d_t
        var constant = ones([x.size(0), x.size(1), 1], value.dtype, x.device);
        var decay = full([spec.InnerWidth, 1], Scalars.From(-1), float32, x.device);
        var (read, last) = SelectiveScan.Forward(
            written, forget.to(value.dtype), decay, constant, constant, z: gate, initialState: own?.Scan, layout: context.Layout);
        own?.Scan.copy_(last);
        return output.Forward(read);                                                                                // the gate of the scan is silu
    }

    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        new RecurrentState(zeros([batch, 0, spec.InnerWidth], compute, device), zeros([batch, spec.InnerWidth, 1], float32, device));
}
