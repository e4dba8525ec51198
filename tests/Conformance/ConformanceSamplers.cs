using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Generation;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Conformance;

/// <summary>Scores after samplers and chains of them: the remaining tokens must be the same, their scores within the tolerance.</summary>
static class ConformanceSamplers
{
    const double Tolerance = 1e-6;

    public static bool Is(string folder)
    {
        string path = Path.Combine(folder, "cases.safetensors");
        if (!File.Exists(path)) return false;
        using var file = SafetensorsFile.Open(path);
        return file.Contains("scores") && file.Contains("history");
    }

    public static IEnumerable<ConformanceResult> Run(string folder, Device device)
    {
        string name = Path.GetFileName(folder);
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "notes.json")));
        using var file = SafetensorsFile.Open(Path.Combine(folder, "cases.safetensors"));
        var notes = document.RootElement.GetProperty("cases");
        var results = new List<ConformanceResult>();
        foreach (var item in file.Entries.Where(entry => entry.Name.StartsWith("out.", StringComparison.Ordinal))
            .Select(entry => entry.Name["out.".Length..]).Order(StringComparer.Ordinal))
        {
            results.Add(ConformanceRunner.Try(name, item, Tolerance, () =>
            {
                var rows = History(file);
                var scores = file.Read("scores", device: device);
                foreach (var processor in Processors(notes, item)) scores = processor.Apply(scores, rows);
                double error = Error(file.Read($"out.{item}"), scores);
                return file.Contains($"probabilities.{item}") ? Math.Max(error, Error(file.Read($"probabilities.{item}"), scores.softmax(1))) : error;
            }));
        }
        return results;
    }

    /// <summary>Returns the tokens that each row has generated.</summary>
    public static int[][] History(SafetensorsFile file)
    {
        var history = file.Read("history");
        return [.. TensorMemory.Span<long>(history).ToArray().Chunk((int)history.size(1)).Select(row => row.Select(id => (int)id).ToArray())];
    }

    /// <summary>Returns the maximum difference of scores, or infinity if other tokens remain.</summary>
    public static double Error(Tensor expected, Tensor actual)
    {
        var (want, have) = (TensorMemory.Span<float>(expected).ToArray(), TensorMemory.Span<float>(actual.cpu().contiguous()).ToArray());
        return want.Length != have.Length ? double.NaN
            : ConformanceError.Largest(want.Zip(have)
            .Select(pair => (float.IsNegativeInfinity(pair.First), float.IsNegativeInfinity(pair.Second)) switch
        {
            (true, true) => 0,
            (false, false) => Math.Abs((double)pair.First - pair.Second),
            _ => double.PositiveInfinity,
        }));
    }

    /// <summary>Returns the rules of a label, or of the labels that it chains.</summary>
    public static IEnumerable<LogitsProcessor> Processors(JsonElement notes, string label)
    {
        var note = notes.GetProperty(label);
        if (note.TryGetProperty("in_order", out var chain))
            return [.. chain.EnumerateArray().SelectMany(part => Processors(notes, part.GetString()!))];
        double Number(string key) => note.GetProperty(key).GetDouble();
        return
        [
            note.GetProperty("processor").GetString() switch
            {
                "TemperatureLogitsWarper" => new TemperatureScaling(Number("temperature")),
                "TopKLogitsWarper" => new TopK((int)Number("top_k")),
                "TopPLogitsWarper" => new TopP(Number("top_p")),
                "MinPLogitsWarper" => new MinP(Number("min_p")),
                "RepetitionPenaltyLogitsProcessor" => new RepetitionPenalty(Number("penalty")),
                "TypicalLogitsWarper" => new TypicalP(Number("mass")),
                "EpsilonLogitsWarper" => new EpsilonCutoff(Number("epsilon")),
                "NoRepeatNGramLogitsProcessor" => new NoRepeatNgrams((int)Number("ngram_size")),
                var other => throw new InvalidDataException($"no sampler is named {other}"),
            },
        ];
    }
}
