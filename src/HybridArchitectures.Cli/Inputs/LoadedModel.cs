using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Holds the model of a folder and its tokenizer.</summary>
sealed class LoadedModel : IDisposable
{
    LoadedModel(HybridLanguageModel model, Tokenizer? tokenizer, string folder) => (Model, this.tokenizer, Folder) = (model, tokenizer, folder);

    readonly Tokenizer? tokenizer;

    public HybridLanguageModel Model { get; }

    public string Folder { get; }

    /// <summary>Gets the folder if it contains a tokenizer; null if the tokens are bytes.</summary>
    public string? TokenizerFolder => HasTokenizer(Folder) ? Folder : null;

    public Tokenizer Tokenizer => tokenizer ?? throw new InvalidOperationException(
        $"'{Folder}' has no tokenizer, and the vocabulary of {Model.VocabularySize} tokens is not that of bytes; set --tokenizer.");

    /// <summary>Opens a folder of this library, of Hugging Face, or of a training run (its last checkpoint).</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="tokenizerPath">The file or folder of a tokenizer, or null for the tokenizer of the folder, or bytes if it has none.</param>
    /// <param name="place">The device and the dtype of activations. The default, null, means the CPU and float32.</param>
    /// <param name="isTrained">
    /// Whether the weights are kept in float32, because they are trained or copied into a model that is. The default is false.
    /// </param>
    public static LoadedModel Open(string folder, string? tokenizerPath = null, ModelPlace? place = null, bool isTrained = false)
    {
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException($"folder is '{folder}'; expected the folder of a checkpoint.");
        folder = ModelFolder.Resolve(folder);
        bool isOwn = File.Exists(Path.Combine(folder, Checkpoint.DesignFile));
        var (device, compute) = place ??= ModelPlace.Cpu;
        var weights = isTrained ? ScalarType.Float32 : place.InferenceWeights;
        var model = isOwn ? Checkpoint.Load(folder, compute, device, weights)
            : PretrainedModel.Load(folder, compute, device, options: new() { Notes = new ErrorNotes() }, weightType: weights);
        try
        {
            Tokenizer? tokenizer = tokenizerPath is not null ? Tokenizer.Load(tokenizerPath) : HasTokenizer(folder) ? Tokenizer.Load(folder)
                : model.VocabularySize is >= 256 and <= 258 ? new ByteTokenizer(endOfText: model.VocabularySize > 256) : null;
            return new LoadedModel(model, tokenizer, folder);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    static bool HasTokenizer(string folder) =>
        File.Exists(Path.Combine(folder, "tokenizer.json")) || File.Exists(Path.Combine(folder, "tokenizer.model"));

    public void Dispose() => Model.Dispose();
}
