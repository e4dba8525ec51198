using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>
/// Implements a custom mixer: the token some positions earlier, times a weight per channel. It uses a causal convolution with one tap, including its
/// state and documents.
/// </summary>
sealed class ShiftMixer : Mixer
{
    readonly int by;

    public ShiftMixer(ModuleFactory factory, int by) : base(nameof(ShiftMixer))
    {
        this.by = by;
        AddParameter("weight", factory.Constant(0.5, factory.Width), decays: true);
    }

    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        var own = (RecurrentState?)state;
        var taps = cat([Parameter("weight").unsqueeze(1), zeros([x.size(2), by], device: x.device)], 1);       // (channels, by + 1), oldest first
        var (shifted, last) = CausalConvolution.Forward(x, taps.to(x.dtype), initialState: own?.Convolution, layout: context.Layout);
        own?.Convolution.copy_(last);
        return shifted;
    }

    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        new RecurrentState(zeros([batch, by, Parameter("weight").size(0)], compute, device), zeros([batch, 0], ScalarType.Float32, device));
}
