using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace Convert;

/// <summary>Represents one conversion: read, write, read again and compare.</summary>
sealed record Conversion(string Source, string Target, string To, ScalarType Type, long ShardBytes)
{
    // files of a checkpoint other than weights
    static readonly string[] Companions =
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
        "vocab.json", "merges.txt", "generation_config.json"];

    /// <summary>Gets whether the written checkpoint equals the source, up to rounding to its dtype.</summary>
    public bool Run()
    {
        if (Directory.Exists(Target) || File.Exists(Target)) throw new ArgumentException($"'{Target}' is there already; expected a new folder");
        var watch = Stopwatch.StartNew();
        using var model = Load(Source, progress: true);
        Say($"read {Source}: {model.Design.Pattern}, {model.Design.CountParameters().Total:n0} parameters, {watch.Elapsed.TotalSeconds:0.0} s");
        if (Type != ScalarType.Float32) Round(model);
        watch.Restart();
        if (To == "own") Checkpoint.Save(model, Target, Type);
        else PretrainedModel.Save(model, Target, To, new() { Type = Type, ShardBytes = ShardBytes, SettingsFrom = Settings() });
        foreach (string name in Companions)
            if (File.Exists(Path.Combine(Source, name)) && !File.Exists(Path.Combine(Target, name)))
                File.Copy(Path.Combine(Source, name), Path.Combine(Target, name));
        string[] files = Directory.GetFiles(Target);
        long bytes = files.Sum(path => new FileInfo(path).Length);
        Say($"wrote {Target}: {string.Join(", ", files.Select(Path.GetFileName).Order())}, {bytes:n0} bytes, {watch.Elapsed.TotalSeconds:0.0} s");
        return Check(model);
    }

    // the values that the file will contain, so the check can expect the same bits
    void Round(HybridLanguageModel model)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(1);
        using var ids = randint(model.VocabularySize, [2, 32], ScalarType.Int64);
        var before = model.Forward(ids);
        foreach (var parameter in model.Parameters) parameter.Value.copy_(parameter.Value.to(Type));
        double moved = (model.Forward(ids) - before).norm().item<float>() / before.norm().item<float>();
        Say($"rounding to {Type} moves the logits of random tokens by {moved:0.0%}");
    }

    // keys that a design does not contain, such as token ids, if the family stays the same
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
        using var ids = randint(model.VocabularySize, [2, 32], ScalarType.Int64);
        var diff = CheckpointDiff.Compare(model, written, ids, tolerance: 0);
        bool same = diff.Tensors.All(tensor => tensor.Change == TensorChange.None) && diff.FirstDivergence is null;
        if (same) Say($"verified: {diff.Tensors.Count} tensors and the outputs of {diff.Layers.Count} layers are the same bit for bit");
        else Say($"FAILED\n{diff}");
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
