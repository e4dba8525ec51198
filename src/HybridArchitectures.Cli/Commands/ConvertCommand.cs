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
        var source = new Argument<string>("source") { Description = "A checkpoint of Hugging Face or of this library, or the folder of a run." };
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
        command.SetGuardedAction(parsed => Run(ModelFolder.Resolve(parsed.GetValue(source)!), parsed.GetValue(target)!, parsed.GetValue(to)!,
            parsed.GetValue(type) == "bfloat16" ? ScalarType.BFloat16 : ScalarType.Float32));
        return command;
    }

    static int Run(string source, string target, string to, ScalarType type)
    {
        if (Directory.Exists(target) || File.Exists(target)) throw Require.Unfit("target", $"target is '{target}', which exists", "a new folder");
        var (model, head) = LoadWithHead(source, to);
        using var disposed = model;
        using var disposedHead = head;
        if (to == "own") Checkpoint.Save(model, target, type, head);
        else PretrainedModel.Save(model, target, to, new() { Type = type, PredictionHead = head });
        foreach (string name in Companions)
            if (File.Exists(Path.Combine(source, name)) && !File.Exists(Path.Combine(target, name))) File.Copy(Path.Combine(source, name),
                Path.Combine(target, name));
        using var scope = NewDisposeScope();
        if (type != ScalarType.Float32)
        {
            using var noGrad = no_grad();
            foreach (var parameter in model.Parameters) parameter.Value.copy_(parameter.Value.to(type));
        }
        using var written = Load(target, head is not null);
        if (head is not null)
        {
            using var writtenHead = LoadHead(target, written);
            if (!IsWritten(head, writtenHead, type)) return Differs("the head of multi-token prediction differs");
        }
        using var ids = tensor(Enumerable.Range(0, Math.Min(32, model.VocabularySize)).Select(id => (long)id).ToArray()).unsqueeze(0);
        var diff = CheckpointDiff.Compare(model, written, ids, tolerance: 0);
        bool isSame = diff.Tensors.All(tensor => tensor.Change == TensorChange.None) && diff.FirstDivergence is null;
        if (!isSame) return Differs($"{diff}");
        Terminal.Line($"wrote {target}; {diff.Tensors.Count} tensors and the outputs of {diff.Layers.Count} layers are the same bit for bit"
            + (head is not null ? ", and so is the head of multi-token prediction" : ""));
        return ExitCode.Success;
    }

    static int Differs(string text)
    {
        Terminal.Line(text);
        return ExitCode.Found;
    }

    // the head of multi-token prediction is null if there is none, or if it is left out with a note
    static (HybridLanguageModel Model, PredictionHead? Head) LoadWithHead(string source, string to)
    {
        bool hasHead = HasHead(source);
        bool canWrite = to == "own" || PretrainedFamily.Find(to) is { HasPrediction: true };
        var (model, loadsHead) = LoadFor(source, hasHead);
        if (!loadsHead) return (model, null);
        try
        {
            if (canWrite) return (model, LoadHead(source, model));
            new ErrorNotes().Report($"{source}: the head of multi-token prediction is left out, because {to} has none");
        }
        catch (Exception e) when (e is InvalidDataException or ArgumentException)
        {
            new ErrorNotes().Report($"{source}: the head of multi-token prediction is left out: {e.Message}");
        }
        return (model, null);
    }

    // the model of a folder, and whether its head of multi-token prediction can be loaded; a note states why it cannot
    static (HybridLanguageModel Model, bool LoadsHead) LoadFor(string source, bool hasHead)
    {
        try
        {
            return (Load(source, hasHead), hasHead);
        }
        catch (NotSupportedException e) when (hasHead)
        {
            new ErrorNotes().Report($"{source}: the head of multi-token prediction is left out: {e.Message}");
            return (Load(source), false);
        }
    }

    static bool IsOwn(string folder) => File.Exists(Path.Combine(folder, Checkpoint.DesignFile));

    static HybridLanguageModel Load(string folder, bool hasHead = false) => IsOwn(folder) ? Checkpoint.Load(folder)
        : PretrainedModel.Load(folder, options: new() { Notes = new ErrorNotes(), MultiTokenPrediction = hasHead });

    static bool HasHead(string folder) => IsOwn(folder) ? Checkpoint.HasPredictionHead(folder) : PretrainedModel.HasPredictionHead(folder);

    static PredictionHead LoadHead(string folder, HybridLanguageModel model) =>
        IsOwn(folder) ? Checkpoint.LoadPredictionHead(folder, model) : PretrainedModel.LoadPredictionHead(folder, model);

    // every tensor is that of the head, or its rounding
    static bool IsWritten(PredictionHead head, PredictionHead written, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var found = written.State;
        return head.State.All(item => Same(item.Value, found[item.Key]) || Same(item.Value.to(type).to(item.Value.dtype), found[item.Key]));
    }

    static bool Same(Tensor first, Tensor second) => first.eq(second).all().item<bool>();
}
