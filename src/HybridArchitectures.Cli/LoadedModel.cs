using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli;

/// <summary>A model of a folder with its tokenizer.</summary>
sealed class LoadedModel : IDisposable
{
    LoadedModel(HybridLanguageModel model, Tokenizer? tokenizer, string folder) => (Model, this.tokenizer, Folder) = (model, tokenizer, folder);

    readonly Tokenizer? tokenizer;

    public HybridLanguageModel Model { get; }

    public string Folder { get; }

    public Tokenizer Tokenizer => tokenizer ?? throw new InvalidOperationException(
        $"'{Folder}' has no tokenizer and the model's vocabulary of {Model.VocabularySize} is not of bytes; name one with --tokenizer.");

    /// <summary>Opens a folder of this library, of Hugging Face, or of a training run (its last checkpoint).</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="tokenizerPath">A tokenizer's file or folder; null for the folder's own, or bytes.</param>
    /// <param name="compute">The type of activations.</param>
    public static LoadedModel Open(string folder, string? tokenizerPath = null, ScalarType compute = ScalarType.Float32)
    {
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException($"folder is '{folder}'; expected a checkpoint's folder.");
        if (Trainer.HasCheckpoint(folder)) folder = Directory.GetDirectories(folder, "step-*").Order(StringComparer.Ordinal).Last();
        bool isOwn = File.Exists(Path.Combine(folder, Checkpoint.DesignFile));
        var model = isOwn ? Checkpoint.Load(folder, compute) : PretrainedModel.Load(folder, compute);
        try
        {
            bool hasTokenizer = File.Exists(Path.Combine(folder, "tokenizer.json")) || File.Exists(Path.Combine(folder, "tokenizer.model"));
            Tokenizer? tokenizer = tokenizerPath is not null ? Tokenizer.Load(tokenizerPath) : hasTokenizer ? Tokenizer.Load(folder)
                : model.VocabularySize is >= 256 and <= 258 ? new ByteTokenizer(endOfText: model.VocabularySize > 256) : null;
            return new LoadedModel(model, tokenizer, folder);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    public void Dispose() => Model.Dispose();
}
