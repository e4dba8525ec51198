using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp.Modules;

namespace HybridArchitectures.Modules;

/// <summary>Computes initial values that state-space mixers share.</summary>
static class StateSpaceInitialisation
{
    /// <summary>
    /// Returns a bias whose softplus is log-uniform between two time steps, and never below their floor: b = t + log(1 - exp(-t)) is the inverse of
    /// softplus (arXiv 2312.00752, section 3.6).
    /// </summary>
    public static Parameter TimeStepBias(ModuleFactory factory, Interval range, double floor, int channels) =>
        factory.FromUniform(Math.Log(range.Minimum), Math.Log(range.Maximum), logarithm =>
        {
            var step = logarithm.exp().clamp_min_(Scalars.From(floor));
            return step.add(step.neg().expm1().neg().log(), Scalars.One);
        }, channels);
}
