using System.Text.Json;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Contains the peak learning rate of each class of designs at the base size. At another width, the rate is multiplied by the root of the ratio of
/// the widths.
/// </summary>
sealed class LearningRates(IReadOnlyDictionary<string, double> rates, int baseWidth)
{
    /// <summary>Specifies the class of stacks of attention, full or with windows.</summary>
    public const string Attention = "attention";

    /// <summary>Specifies the class of stacks of Mamba-2.</summary>
    public const string Mamba = "mamba";

    /// <summary>Specifies the class of inter-layer hybrids of Mamba-2.</summary>
    public const string Inter = "inter";

    /// <summary>Specifies the class of inter-layer hybrids of gated delta nets.</summary>
    public const string GatedDelta = "gated delta";

    /// <summary>Specifies the class of inter-layer hybrids of Mamba-1.</summary>
    public const string Mamba1 = "mamba-1";

    /// <summary>Specifies the class of inter-layer hybrids of Mamba-3.</summary>
    public const string Mamba3 = "mamba-3";

    /// <summary>Specifies the class of intra-layer hybrids.</summary>
    public const string Intra = "intra";

    /// <summary>Gets the rates by class.</summary>
    public IReadOnlyDictionary<string, double> ByClass => rates;

    /// <summary>Returns the rate of a design.</summary>
    public double For(ExperimentDesign design) => rates.TryGetValue(design.Class, out double rate)
        ? rate * Math.Sqrt((double)baseWidth / design.Design.Width)
        : throw new InvalidDataException($"There is no learning rate of {design.Class}; run {Catalogue.LearningRatesName} first.");

    /// <summary>Returns the name of a trial of a class and a rate.</summary>
    public static string TrialName(string designClass, double rate) => FormattableString.Invariant($"{designClass}, rate {rate:0.####}");

    /// <summary>Selects, for each class, the rate with the minimum held-out loss. Trials that diverged are left out.</summary>
    public static IReadOnlyDictionary<string, double> Select(SweepResult trials)
    {
        string[] classes = [Attention, Mamba, Inter, Intra, GatedDelta, Mamba1, Mamba3];
        return classes.ToDictionary(name => name, name => trials.Runs
            .Where(run => run.Settings.Name.StartsWith($"{name}, rate ", StringComparison.Ordinal) && run.Training is { Failure: null })
            .MinBy(run => run.Training!.HeldOutLoss[^1].Loss)?.Settings.LearningRate
            ?? throw new InvalidDataException($"The trials contain no result of {name}; run learning-rates first."));
    }

    /// <summary>Reads the rates that <see cref="Write"/> wrote, or returns null if there is no file.</summary>
    public static LearningRates? Read(string path, int baseWidth) => !File.Exists(path) ? null
        : new(JsonSerializer.Deserialize<Dictionary<string, double>>(File.ReadAllText(path))!, baseWidth);

    /// <summary>Writes the rates.</summary>
    public static void Write(string path, IReadOnlyDictionary<string, double> rates)
    {
        string temporary = $"{path}.{Environment.ProcessId}";
        File.WriteAllText(temporary, JsonSerializer.Serialize(rates, new JsonSerializerOptions { WriteIndented = true }) + "\n");
        File.Move(temporary, path, overwrite: true);
    }
}
