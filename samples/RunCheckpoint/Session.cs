using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Chat;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;
using static TorchSharp.torch;

namespace RunCheckpoint;

/// <summary>Holds a loaded checkpoint and its tokenizer.</summary>
sealed class Session : IDisposable
{
    readonly HybridLanguageModel model;
    readonly Tokenizer tokenizer;
    readonly string folder;

    Session(HybridLanguageModel model, Tokenizer tokenizer, string folder) => (this.model, this.tokenizer, this.folder) = (model, tokenizer, folder);

    public static Session Open(string folder, ScalarType compute)
    {
        var watch = Stopwatch.StartNew();
        bool own = File.Exists(Path.Combine(folder, Checkpoint.DesignFile));
        var model = own ? Checkpoint.Load(folder, compute) : PretrainedModel.Load(folder, compute, progress: new Percent());
        bool hasTokenizer = File.Exists(Path.Combine(folder, "tokenizer.json")) || File.Exists(Path.Combine(folder, "tokenizer.model"));
        try
        {
            Tokenizer tokenizer = hasTokenizer ? Tokenizer.Load(folder) : model.VocabularySize is 256 or 257 or 258 && own ? new ByteTokenizer()
                : new NumberTokenizer(model.VocabularySize);
            var cost = CacheSize.FromDesign(model.Design, 1024, 1, compute == ScalarType.BFloat16 ? 2 : 4);
            string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
            Say($"{name}: {model.Design.Pattern}, {model.Design.CountParameters().Total:n0} parameters, loaded in {watch.Elapsed.TotalSeconds:0.0} s;"
                + $" a row of 1024 tokens takes {cost.Total / 1024.0:n0} KiB of "
                + $"cache{(hasTokenizer ? "" : tokenizer is ByteTokenizer ? "; no tokenizer: bytes" : "; no tokenizer: tokens are numbers")}");
            return new Session(model, tokenizer, folder);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    public async Task Continue(string prompt, GenerationOptions options, CancellationToken cancellation)
    {
        Console.Write(prompt);
        if (tokenizer is NumberTokenizer) Console.Write(" ");
        var speed = new Speed(tokenizer.Encode(prompt, tokenizer.BeginOfText is not null).Length);
        await foreach (var piece in new TextGenerator(model, tokenizer).StreamAsync(prompt, WithEnds(options), cancellation))
        {
            Console.Write(piece.Text);
            speed.Token();
        }
        Console.WriteLine();
        Say(speed.ToString());
    }

    public async Task Talk(GenerationOptions options, CancellationToken cancellation)
    {
        using var client = new HybridChatClient(model, tokenizer, Template(), WithEnds(options));
        var talk = new List<ChatMessage>();
        while (true)
        {
            Console.Write("> ");
            if (Console.ReadLine() is not { Length: > 0 } line) return;
            talk.Add(new(ChatRole.User, line));
            var updates = new List<ChatResponseUpdate>();
            var speed = new Speed(0);
            await foreach (var update in client.GetStreamingResponseAsync(talk, cancellationToken: cancellation))
            {
                updates.Add(update);
                Console.Write(update.Text);
                if (updates.Count == 1) speed.Token();
            }
            Console.WriteLine();
            talk.AddMessages(updates);
            var usage = updates[^1].Contents.OfType<UsageContent>().Single().Details;
            Say(speed.Describe(usage.InputTokenCount ?? 0, usage.OutputTokenCount ?? 0));
        }
    }

    // the template of the folder takes precedence over those of the library
    ChatTemplate? Template()
    {
        if (tokenizer is NumberTokenizer) return new ChatTemplate(turns => tokenizer.Encode(string.Join(' ', turns.Select(turn => turn.Text))));
        if (ChatTemplate.IsInFolder(folder)) return ChatTemplate.FromFolder(folder, tokenizer);
        return tokenizer.SpecialTokens.ContainsKey("<|im_start|>") ? ChatTemplate.ChatMl(tokenizer) : null;
    }

    // a loaded tokenizer knows the end-of-text tokens; numbers do not
    GenerationOptions WithEnds(GenerationOptions options) =>
        tokenizer is NumberTokenizer ? options with { StopTokens = [.. Tokenizer.ReadStopTokens(folder).Where(tokenizer.Contains)] } : options;

    static void Say(string text) => Console.Error.WriteLine(text);

    public void Dispose() => model.Dispose();

    sealed class Percent : IProgress<double>
    {
        int shown = -1;

        public void Report(double share)
        {
            int percent = (int)(share * 20) * 5;
            if (percent == shown || Console.IsErrorRedirected) return;
            shown = percent;
            Console.Error.Write(percent == 100 ? "\r              \r" : string.Create(CultureInfo.InvariantCulture, $"\rloading {percent,3} %"));
        }
    }
}
