using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>Finds recorded cases by what their folders hold, and runs each kind by its own class.</summary>
static class ConformanceRunner
{
    static readonly (Func<string, bool> Is, Func<string, Device, IEnumerable<ConformanceResult>> Run)[] kinds =
    [
        (ConformanceCase.Is, ConformanceCase.RunAll), (ConformanceTrajectory.Is, ConformanceTrajectory.Run),
        (ConformanceBalance.Is, ConformanceBalance.Run),
        (ConformanceSamplers.Is, ConformanceSamplers.Run), (ConformanceTokenizer.Is, (folder, _) => ConformanceTokenizer.Run(folder)),
    ];

    /// <summary>Returns all case folders under a folder, including itself: those with notes or with recorded outputs.</summary>
    public static IEnumerable<string> Find(string root) => new[] { "notes.json", "expected.safetensors", "cases.safetensors", "cases.json" }
        .SelectMany(name => Directory.EnumerateFiles(root, name, SearchOption.AllDirectories)).Select(path => Path.GetDirectoryName(path)!)
        .Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal);

    /// <summary>Compares everything a case records; what cannot be run is a failure with its reason.</summary>
    /// <param name="folder">The case.</param>
    /// <param name="device">Where it is run; null for the CPU, where results are compared in any case.</param>
    public static IReadOnlyList<ConformanceResult> Run(string folder, Device? device = null)
    {
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(folder));
        var results = new List<ConformanceResult>();
        try
        {
            var kind = kinds.FirstOrDefault(kind => kind.Is(folder));
            if (kind.Run is null) throw new InvalidDataException("no model, trajectory, balance loss, samplers or tokenizer is recorded here");
            foreach (var result in kind.Run(folder, device ?? CPU)) results.Add(result);
            if (results.Count == 0) throw new InvalidDataException("nothing is recorded");
        }
        catch (Exception error)
        {
            results.Add(new(name, "load", double.NaN, 0, error.Message));
        }
        return results;
    }

    /// <summary>Runs one comparison in a separate scope.</summary>
    public static ConformanceResult Try(string name, string kind, double tolerance, Func<double> error)
    {
        try
        {
            using var scope = NewDisposeScope();
            return new(name, kind, error(), tolerance);
        }
        catch (Exception failure)
        {
            return new(name, kind, double.NaN, tolerance, failure.Message);
        }
    }
}
