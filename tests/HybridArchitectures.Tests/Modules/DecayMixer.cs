using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>
/// Implements a mixer as a user writes it who does not know dispose scopes: h[t] = h[t-1] / 2 + w x[t]. Its state contains plain tensors and receives
/// new ones.
/// </summary>
sealed class DecayMixer : Mixer
{
    public DecayMixer(ModuleFactory factory) : base(nameof(DecayMixer)) => AddParameter("weight", factory.Constant(0.5, factory.Width), decays: true);

    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        var own = (DecayState?)state;
        var h = own?.Sum ?? zeros([x.size(0), x.size(2)], x.dtype, x.device);
        var outputs = new List<Tensor>();
        for (long t = 0; t < x.size(1); t++)
        {
            h = h.mul(Scalars.From(0.5)).add(x.select(1, t).mul(Parameter("weight").to(x.dtype)), Scalars.One);
            outputs.Add(h);
        }
        if (own is not null) own.Sum = h;
        return stack(outputs, 1);
    }

    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        new DecayState(zeros([batch, Parameter("weight").size(0)], compute, device));
}

/// <summary>Represents the state of <see cref="DecayMixer"/>.</summary>
sealed class DecayState(Tensor sum) : MixerState
{
    public Tensor Sum { get; set; } = sum;

    public override IReadOnlyList<Tensor> Tensors => [Sum];

    public override MixerState Select(Tensor rows) => new DecayState(Sum.index_select(0, rows));
}

/// <summary>Describes <see cref="DecayMixer"/>.</summary>
sealed record DecaySpec : CustomMixerSpec
{
    public override string Symbol => "X";

    public override long CountParameters(int width) => width;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 2.0 * width * step.ElementSize;

    public override long CountCacheBytes(int width, long length, int elementSize) => (long)width * elementSize;

    public override Mixer CreateMixer(ModuleFactory factory) => new DecayMixer(factory);
}
