using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Logging;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace TrainRecipe;

/// <summary>Trains a model from text files.</summary>
static class RecipeRun
{
    const double HeldOutShare = 0.05;

    public static int Execute(Settings settings, StopSignals stop)
    {
        var cancellation = stop.Token;
        Tokenizer tokenizer = settings.Tokenizer is { } path ? Llama3Tokenizer.Load(path) : new ByteTokenizer(endOfText: true);
        Console.WriteLine(
            $"tokenizer  {(settings.Tokenizer is null ? "bytes (no --tokenizer)" : settings.Tokenizer)}, {tokenizer.VocabularySize:N0} tokens");
        using var all = Shards(settings, tokenizer, cancellation);
        var (training, heldOut) = all.Split(HeldOutShare);
        Console.WriteLine($"data       {training.Count:N0} tokens to train on, {heldOut.Count:N0} held out, {all.DocumentStarts.Count:N0} documents");

        var design = ScaledRecipe.FromDesign(settings.Recipe.Design, tokenizer.VocabularySize, settings.Width);
        Console.WriteLine($"model      {design.Name}: {design.Pattern}, {design.CountParameters().Total:N0} parameters");
        var options = settings.Training;
        bool begun = Trainer.HasCheckpoint(options.Folder!);
        var device = settings.Cuda ? CUDA : CPU;
        using var board = new TensorBoardLog(Path.Combine(settings.Folder, "events"));
        using var fresh = begun ? null : design.CreateModel(settings.Cuda ? ScalarType.BFloat16 : ScalarType.Float32, device, settings.Seed);
        using var trainer = begun ? Trainer.Resume(options.Folder!, training, heldOut, [board], device)
            : new Trainer(fresh!, training, options, heldOut, [board]);
        using var own = begun ? trainer.Model : null;
        if (begun) Console.WriteLine($"training   goes on from step {trainer.Step}");
        var result = trainer.Run(new Lines(), cancellation);
        if (!result.Completed)
        {
            Console.WriteLine($"stopped    saved in {result.Checkpoint}; the same command continues");
            return stop.ExitCode;
        }
        Console.WriteLine(
            string.Create(CultureInfo.InvariantCulture,
                $"held out   {result.Final!.Loss:f3} nats per token, {result.Final.BitsPerByte:f3} bits per byte, "
                + $"{result.Elapsed.TotalSeconds:f0} s of training"));
        Console.WriteLine($"saved      {result.Checkpoint}");
        return 0;
    }

    static TokenDataset Shards(Settings settings, Tokenizer tokenizer, CancellationToken cancellation)
    {
        var folder = Path.Combine(settings.Folder, "shards");
        var files = Files(settings);
        TokenShards.Write(files, folder, tokenizer, new ShardingOptions { EndOfText = true }, new Lines(), cancellation);
        var data = TokenShards.Open(folder);
        Console.WriteLine($"shards     {files.Length} files, {data.Count:N0} tokens, in {folder}");
        return data;
    }

    /// <summary>Returns the files of the user, or the documentation of the class library as a file of JSON lines.</summary>
    static string[] Files(Settings settings)
    {
        if (settings.Data is { } path)
            return Directory.Exists(path) ? [.. Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)]
                : [path];
        var corpus = DocumentationCorpus.Load();
        var file = Path.Combine(settings.Folder, "documentation.jsonl");
        if (File.Exists(file)) return [file];
        Directory.CreateDirectory(settings.Folder);
        HybridArchitectures.Storage.AtomicWrite.Text(file, string.Concat(corpus.Training.Concat(corpus.HeldOut)
            .Select(document => System.Text.Json.JsonSerializer.Serialize(new { text = document.Text }) + "\n")));
        return [file];
    }

    sealed class Lines : IProgress<ShardingProgress>, IProgress<TrainingProgress>
    {
        long next = 1;

        // a line each time the work done has doubled
        public void Report(ShardingProgress at)
        {
            if (at.Files == at.TotalFiles || 1000 * at.Bytes < next * at.TotalBytes) return;
            next *= 2;
            Console.WriteLine(
                $"shards     {100.0 * at.Bytes / at.TotalBytes:f1} % of {at.TotalBytes:N0} bytes, {at.Documents:N0} documents, "
                + $"{at.Tokens:N0} tokens");
        }

        public void Report(TrainingProgress at) => Console.WriteLine(FormattableString.Invariant(
            $"training   step {at.Step,4} of {at.TotalSteps}: {at.Loss:f3} nats, rate {at.LearningRate:g3}, {at.TokensPerSecond:f0} tokens/s"));
    }
}
