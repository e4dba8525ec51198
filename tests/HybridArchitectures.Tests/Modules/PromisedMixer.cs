using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>Implements a mixer of a projection, a bias and a frozen scale.</summary>
sealed class PromisedMixer : Mixer
{
    readonly Linear project;

    public PromisedMixer(ModuleFactory factory) : base(nameof(PromisedMixer))
    {
        project = Add("project", new Linear(factory.Projection(factory.Width, factory.Width)));
        AddParameter("bias", factory.Constant(0, factory.Width), decays: false);
        var scale = factory.Constant(1, factory.Width);
        scale.requires_grad = false;
        AddParameter("scale", scale, decays: false);
    }

    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state) => project.Forward(x);

    public override MixerState CreateState(int batch, ScalarType compute, Device device) => throw new NotSupportedException("no cache");
}
