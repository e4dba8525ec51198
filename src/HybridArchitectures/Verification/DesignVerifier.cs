using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>
/// Verifies that a model satisfies the assumptions of generation and training. Later tokens, padding, other documents, other rows, and the way in
/// which a prompt is split must not change the result. Custom mixers are supported. The output of each layer is compared, so a failure names the
/// first layer that breaks.
/// </summary>
/// <example>
/// <code>
/// HybridDesign design = HybridDesign.Create(width: 32, vocabularySize: 50).WithAttention(heads: 4).WithMamba2(stateSize: 8, headSize: 8)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(48)).Pattern("MT").Build();
/// VerificationReport report = DesignVerifier.Verify(design);
/// Console.WriteLine(report.Passed ? "all checks passed" : report.ToString());
/// </code>
/// </example>
public static class DesignVerifier
{
    /// <summary>Verifies a design with a model whose weights are all random, so that no term is hidden by a 0 or a 1.</summary>
    /// <param name="design">The design. A model with its parameters is created.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <returns>The result of each check.</returns>
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
                using var noise = randn(parameter.shape, generator: generator).mul_(tensor(deviation > 0 ? (float)deviation / 2 : 0.2f)).to(
                    parameter.device);
                parameter.add_(noise, Scalars.One);
            }
        }
        return Verify(model, options);
    }

    /// <summary>Verifies a model with its present weights. The model is in evaluation mode during the verification.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <returns>The result of each check.</returns>
    /// <exception cref="ArgumentException">The rows are too short to be divided, or the tolerance is not positive.</exception>
    public static VerificationReport Verify(HybridLanguageModel model, VerificationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new();
        if (options.Length < 12) throw Require.Unfit(nameof(options), $"options.Length is {options.Length}", "at least 12");
        if (options.Tolerance is { } tolerance && !(tolerance > 0))
            throw Require.Unfit(nameof(options), $"options.Tolerance is {tolerance}", "more than 0");
        using var scope = NewDisposeScope();
        using var probe = new LayerProbe(model);
        var checks = new InvarianceChecks(model, probe, options);
        return new VerificationReport(
            model.Design.Name ?? model.Design.Pattern,
            [.. Enum.GetValues<Invariance>().Select(invariance => Try(model, probe, checks, invariance, options))]);
    }

    static InvarianceResult Try(HybridLanguageModel model, LayerProbe probe, InvarianceChecks checks, Invariance invariance,
        VerificationOptions options)
    {
        double tolerance = invariance == Invariance.CacheBytes ? 0 : options.ToleranceFor(model.ComputeType);
        var errors = new LayerErrors(model.Stack.Blocks.Count + 1, tolerance);
        using var scope = NewDisposeScope();
        try
        {
            checks.Run(invariance, errors);
            return new(invariance, errors.Max, tolerance, errors.First + 1, errors.First is { } layer ? LayerNames.ForLayer(model, layer) : null,
                [.. errors.Values], errors.Detail);
        }
        catch (Exception error) when (error is not OutOfMemoryException)
        {
            // a comparison before the failure may already have found a layer
            int failed = Math.Min(errors.First ?? probe.Current, model.Stack.Blocks.Count);
            return new(invariance, double.PositiveInfinity, tolerance, failed + 1, LayerNames.ForLayer(model, failed), [.. errors.Values],
                $"{errors.Detail ?? checks.Trying}: {error.GetType().Name}: {FirstLine(error.Message)}");
        }
    }

    // libtorch appends native stack frames to a message
    static string FirstLine(string message) => message.AsSpan().Trim().ToString().Split('\n')[0].TrimEnd();
}
