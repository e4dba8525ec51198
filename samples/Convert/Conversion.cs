using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace Convert;

/// <summary>One conversion: read, write, read again, compare.</summary>
sealed record Conversion(string Source, string Target, string To, ScalarType Type, long ShardBytes)
{
    // what belongs to a checkpoint and is not of the weights
    static readonly string[] Companions =
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt", "generation_config.json"];

    /// <summary>Whether what was written is what was read, up to the rounding of its type.</summary>
    public bool Run()
    {
        if (Directory.Exists(Target) || File.Exists(Target)) throw new ArgumentException($"'{Target}' is there already; expected a new folder");
        var watch = Stopwatch.StartNew();
        using var model = Load(Source, progress: true);
        Say($"read {Source}: {model.Design.Pattern}, {model.Design.CountParameters().Total:n0} parameters, {watch.Elapsed.TotalSeconds:0.0} s");
        watch.Restart();
        if (To == "own") Checkpoint.Save(model, Target, Type);
        else PretrainedModel.Save(model, Target, To, new() { Type = Type, ShardBytes = ShardBytes, SettingsFrom = Settings() });
        foreach (string name in Companions)
            if (File.Exists(Path.Combine(Source, name)) && !File.Exists(Path.Combine(Target, name))) File.Copy(Path.Combine(Source, name), Path.Combine(Target, name));
        Say($"wrote {Target}: {string.Join(", ", Directory.GetFiles(Target).Select(Path.GetFileName).Order())}, {Directory.GetFiles(Target).Sum(path => new FileInfo(path).Length):n0} bytes, {watch.Elapsed.TotalSeconds:0.0} s");
        return Check(model);
    }

    // keys that the design does not hold, such as token ids, where the family stays the same
    PretrainedConfig? Settings()
    {
        string path = Path.Combine(Source, "config.json");
        return File.Exists(path) && PretrainedConfig.Read(path) is { } config && config.ModelType == To ? config : null;
    }

    bool Check(HybridLanguageModel model)
    {
        using var scope = NewDisposeScope();
        using var written = Load(Target, progress: false);
        manual_seed(1);
        using var ids = randint(model.Vocabulary, [2, 32], ScalarType.Int64);
        // half a unit in the last place of each weight; rounding adds up along the layers
        double rounding = Type switch { ScalarType.BFloat16 => 1 / 256.0, ScalarType.Float16 => 1 / 2048.0, _ => 0 };
        var diff = CheckpointDiff.Compare(model, written, ids, tolerance: rounding * 20);
        var lost = diff.Tensors.Where(tensor => tensor.DifferenceNorm is not { } norm || norm > rounding * tensor.LeftNorm).ToArray();
        foreach (var tensor in lost.Take(10)) Say($"  {tensor.Name}: {tensor.Change}");
        if (diff.FirstDivergence is { } layer) Say($"  outputs diverge from {layer.Layer} on, by {layer.Error:g3}");
        bool same = lost.Length == 0 && diff.FirstDivergence is null;
        double worst = diff.Tensors.Max(tensor => tensor.DifferenceNorm / Math.Max(tensor.LeftNorm ?? 0, 1e-30)) ?? 0;
        Say($"{(same ? "verified" : "FAILED")}: {diff.Tensors.Count} tensors, largest relative difference {worst:g3}; logits differ by {diff.Layers[^1].Error:g3} of their largest");
        return same;
    }

    static HybridLanguageModel Load(string folder, bool progress) => File.Exists(Path.Combine(folder, Checkpoint.DesignFile))
        ? Checkpoint.Load(folder)
        : PretrainedModel.Load(folder, progress: progress && !Console.IsErrorRedirected ? new Progress() : null);

    static void Say(FormattableString text) => Console.WriteLine(text.ToString(CultureInfo.InvariantCulture));

    sealed class Progress : IProgress<double>
    {
        int shown = -1;

        public void Report(double share)
        {
            int percent = (int)(share * 100);
            if (percent == shown) return;
            shown = percent;
            Console.Error.Write(percent == 100 ? "\r              \r" : string.Create(CultureInfo.InvariantCulture, $"\rreading {percent,3} %"));
        }
    }
}
