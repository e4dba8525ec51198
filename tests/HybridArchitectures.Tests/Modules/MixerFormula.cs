using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>Compares a mixer with a formula.</summary>
static class MixerFormula
{
    /// <summary>
    /// Moves the parameters of a mixer at random, and checks its output and all gradients for float64 activations. The caller provides a dispose
    /// scope.
    /// </summary>
    /// <param name="mixer">The mixer.</param>
    /// <param name="length">The number of tokens of the row.</param>
    /// <param name="width">The width of the model.</param>
    /// <param name="formula">Computes (length, width) from (length, width) with the parameters of the mixer.</param>
    public static void Matches(Mixer mixer, int length, int width, Func<Tensor, Tensor> formula)
    {
        using (no_grad())
        {
            manual_seed(3);
            foreach (var (_, parameter) in mixer.named_parameters()) parameter.add_(randn_like(parameter) * 0.4);
        }
        var x = randn([1, length, width], ScalarType.Float64).requires_grad_();
        var weights = randn([length, width], ScalarType.Float64);
        Tensor[] Gradients(Tensor output)
        {
            Autograd.Backward((output * weights).sum());
            var gradients = mixer.parameters().Append(x).Select(leaf => leaf.grad!.to(ScalarType.Float64).clone()).ToArray();
            foreach (var leaf in mixer.parameters().Append(x)) leaf.grad = null;
            return gradients;
        }
        using var context = new SequenceContext();
        var actual = mixer.Forward(x, context, null).squeeze(0);
        var expected = formula(x.squeeze(0));
        Assert.True((actual - expected).abs().max().item<double>() < 1e-12);
        foreach (var (right, computed) in Gradients(expected).Zip(Gradients(actual)))
        {
            // gradients of float32 parameters are rounded to float32
            double allowed = 1e-6 * Math.Max(1, right.abs().max().item<double>());
            Assert.True((right - computed).abs().max().item<double>() < allowed);
        }
    }
}
