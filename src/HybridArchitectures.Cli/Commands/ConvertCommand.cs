using System.CommandLine;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid convert</c>, which converts between folders of this library and of Hugging Face.</summary>
static class ConvertCommand
{
    static readonly string[] Companions =
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "vocab.json", "merges.txt",
            "generation_config.json"];

    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "A checkpoint folder of Hugging Face or of this library." };
        var target = new Argument<string>("target") { Description = "The folder to write, which must not exist." };
        var to = new Option<string>("--to")
        {
            Description = $"own, or one of {string.Join(", ", PretrainedFamily.All.Select(family => family.ModelType))}.",
            Required = true,
        };
        var type = new Option<string>("--dtype") { Description = "float32 or bfloat16.", DefaultValueFactory = _ => "float32" };
        type.AcceptOnlyFromAmong("float32", "bfloat16");
        var command = GuardedCommand.Create("convert", "Converts a checkpoint, reads the result and compares it with the source. Exit code 1 if they "
            + "differ.", "models/bamba own/bamba --to own");
        command.Add(source);
        command.Add(target);
        command.Add(to);
        command.Add(type);
        command.SetGuardedAction(parsed => Run(parsed.GetValue(source)!, parsed.GetValue(target)!, parsed.GetValue(to)!,
            parsed.GetValue(type) == "bfloat16" ? ScalarType.BFloat16 : ScalarType.Float32));
        return command;
    }

    static int Run(string source, string target, string to, ScalarType type)
    {
        if (Directory.Exists(target) || File.Exists(target)) throw Require.Unfit("target", $"target is '{target}', which exists", "a new folder");
        using var model = Load(source);
        if (to == "own") Checkpoint.Save(model, target, type);
        else PretrainedModel.Save(model, target, to, new() { Type = type });
        foreach (string name in Companions)
            if (File.Exists(Path.Combine(source, name)) && !File.Exists(Path.Combine(target, name))) File.Copy(Path.Combine(source, name),
                Path.Combine(target, name));
        using var scope = NewDisposeScope();
        if (type != ScalarType.Float32)
        {
            using var noGrad = no_grad();
            foreach (var parameter in model.Parameters) parameter.Value.copy_(parameter.Value.to(type));
        }
        using var written = Load(target);
        using var ids = tensor(Enumerable.Range(0, Math.Min(32, model.VocabularySize)).Select(id => (long)id).ToArray()).unsqueeze(0);
        var diff = CheckpointDiff.Compare(model, written, ids, tolerance: 0);
        bool isSame = diff.Tensors.All(tensor => tensor.Change == TensorChange.None) && diff.FirstDivergence is null;
        if (!isSame) Terminal.Line($"{diff}");
        else Terminal.Line($"wrote {target}; {diff.Tensors.Count} tensors and the outputs of {diff.Layers.Count} layers are the same bit for bit");
        return isSame ? ExitCode.Success : ExitCode.Found;
    }

    static HybridLanguageModel Load(string folder) => File.Exists(Path.Combine(folder, Checkpoint.DesignFile)) ? Checkpoint.Load(folder)
        : PretrainedModel.Load(folder, options: new() { Notes = new ErrorNotes() });
}
