using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>
/// Tries whether a model keeps what generation and training lean on: later tokens, pads, other documents, other rows, and the sizes in which a prompt is read change nothing,
/// mixers of users included. Each layer's output is compared, so that a failure names the first layer that breaks.
/// </summary>
public static class DesignVerifier
{
    /// <summary>Verifies a design on a model of it whose every weight is random, so that no term hides behind a 0 or a 1.</summary>
    /// <param name="design">The design. The model takes the memory of its parameters.</param>
    /// <param name="options">Null for the defaults.</param>
    public static VerificationReport Verify(HybridDesign design, VerificationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(design);
        options ??= new();
        using var model = design.CreateModel(options.Compute, options.Device, options.Seed);
        using (NewDisposeScope())
        using (no_grad())
        {
            using var generator = new Generator((ulong)options.Seed, CPU);
            foreach (var (_, parameter, _) in model.AllParameters())
            {
                double deviation = parameter.NumberOfElements > 1 ? parameter.std().item<float>() : 0;
                using var noise = randn(parameter.shape, generator: generator).mul_(tensor(deviation > 0 ? (float)deviation / 2 : 0.2f)).to(parameter.device);
                parameter.add_(noise, Scalars.One);
            }
        }
        return Verify(model, options);
    }

    /// <summary>Verifies a model with the weights it has. It is in evaluation mode meanwhile.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="ArgumentException">The options ask for rows too short to divide, or for a tolerance that is none.</exception>
    public static VerificationReport Verify(HybridLanguageModel model, VerificationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new();
        if (options.Length < 12) throw new ArgumentException($"options.Length is {options.Length}; expected at least 12", nameof(options));
        if (options.Tolerance is { } tolerance && !(tolerance > 0)) throw new ArgumentException($"options.Tolerance is {tolerance}; expected more than 0", nameof(options));
        using var scope = NewDisposeScope();
        using var probe = new LayerProbe(model);
        var checks = new InvarianceChecks(model, probe, options);
        return new VerificationReport(model.Design.Name ?? model.Design.Pattern, [.. Enum.GetValues<Invariance>().Select(invariance => Try(model, probe, checks, invariance, options))]);
    }

    static InvarianceResult Try(HybridLanguageModel model, LayerProbe probe, InvarianceChecks checks, Invariance invariance, VerificationOptions options)
    {
        double tolerance = invariance == Invariance.CacheBytes ? 0 : options.ToleranceFor(model.ComputeType);
        var errors = new LayerErrors(model.Stack.Blocks.Count + 1, tolerance);
        using var scope = NewDisposeScope();
        try
        {
            checks.Run(invariance, errors);
            return new(invariance, errors.Max, tolerance, errors.First + 1, errors.First is { } layer ? LayerNames.ForLayer(model, layer) : null, [.. errors.Values], errors.Detail);
        }
        catch (Exception error) when (error is not OutOfMemoryException)
        {
            // a comparison before the failure may have found a layer already
            int failed = Math.Min(errors.First ?? probe.Current, model.Stack.Blocks.Count);
            return new(invariance, double.PositiveInfinity, tolerance, failed + 1, LayerNames.ForLayer(model, failed), [.. errors.Values], $"{errors.Detail ?? checks.Trying}: {error.GetType().Name}: {FirstLine(error.Message)}");
        }
    }

    // libtorch appends the frames of its own code to a message
    static string FirstLine(string message) => message.AsSpan().Trim().ToString().Split('\n')[0].TrimEnd();
}
