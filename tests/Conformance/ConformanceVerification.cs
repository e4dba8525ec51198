using HybridArchitectures.Checkpoints;
using HybridArchitectures.Verification;
using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>Verifies that the checkpoint of a case has the properties that generation needs, see <see cref="DesignVerifier"/>.</summary>
static class ConformanceVerification
{
    public static IEnumerable<ConformanceResult> Run(string folder, Device device)
    {
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(folder));
        try
        {
            using var model = PretrainedModel.Load(folder, device: device);
            return [.. DesignVerifier.Verify(model).Results.Select(result =>
                new ConformanceResult(name, result.Invariance.ToString(), result.MaxError, result.Tolerance,
                    result.Passed ? null : $"{result.Layer}: {result.Detail}"))];
        }
        catch (Exception error)
        {
            return [new(name, "load", double.NaN, 0, error.Message)];
        }
    }
}
