using HybridArchitectures.Design;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the gated short convolution of LFM2 (arXiv 2511.23404): out(c * conv(b * x)), where (b, c, x) is one projection of the input.
/// </summary>
public sealed class ShortConvolution : Mixer
{
    readonly ShortConvolutionSpec spec;
    readonly int width;
    readonly Linear input, output;

    /// <summary>Creates a short convolution.</summary>
    public ShortConvolution(ModuleFactory factory, ShortConvolutionSpec spec) : base(nameof(ShortConvolution), spec)
    {
        ModuleChecks.Spec(factory, spec);
        this.spec = spec;
        width = factory.Width;
        input = Add("input", new Linear(factory.Projection(3L * width, width), spec.Bias ? factory.Bias(3L * width) : null)
        {
            Layout = new([width, width, width]),
        });
        double bound = 1 / Math.Sqrt(spec.ConvolutionWidth);
        AddParameter("conv_weight", factory.Uniform(-bound, bound, width, spec.ConvolutionWidth), decays: true);
        if (spec.Bias) AddParameter("conv_bias", factory.Uniform(-bound, bound, width), decays: false);
        output = Add("output", new Linear(factory.Projection(width, width, intoResidual: true), spec.Bias ? factory.Bias(width) : null));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var own = ModuleChecks.State<ConvolutionState>(state, "a short convolution");
        var parts = input.Forward(x).chunk(3, -1);
        var y = StatefulConvolution.Forward(
            parts[0] * parts[2], Parameter("conv_weight", x), spec.Bias ? Parameter("conv_bias", x) : null, silu: false, own, context);
        return output.Forward(parts[1] * y);
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new ConvolutionState(zeros([batch, spec.ConvolutionWidth - 1, width], compute, device));
    }
}
